"""Time and memory of each method's losses relative to KD: forward and backward pass, trained layers included.

Inputs have the sizes of PSPNet R101 to R18 with 150 classes, batch 2, crop 384x384. Feature memories are full.
"""

import os.path as osp
from collections.abc import Callable, Iterator
from functools import partial
from glob import glob
from inspect import signature

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmseg_bpkd.models.losses.base import contract_of
from mmseg_bpkd.models.losses.class_memory import ClassMemory

from .masks import STRIDE, regions
from .measuring import DEVICE, milliseconds_in_turn, peak_growth, ratio

FORMAT = (
    '{method}: {ms:.1f} ms, {ratio:.1f} times ({ratio_least:.1f} to {ratio_most:.1f}); '
    '{megabytes:.0f} MiB, {memory_ratio:.1f} times'
)
CONFIGS = osp.join(osp.dirname(osp.abspath(__file__)), '../configs/_base_/distillers')
METHODS = {osp.basename(path)[:-3]: path for path in sorted(glob(f'{CONFIGS}/*.py'))}
CLASSES = 150
WIDTHS = dict(feats_S=128, feats_T=512, stage_S=512, stage_T=2048)


def random_records(size: int = 48) -> dict[str, Tensor]:
    records = {
        name: torch.randn(2, width, size, size, device=DEVICE)
        for name, width in dict(WIDTHS, preds_S=CLASSES, preds_T=CLASSES).items()
    }
    for name, record in records.items():
        record.requires_grad_(name.endswith('_S'))
    return dict(records, gt=regions(CLASSES, 20, STRIDE * size, STRIDE * size).to(DEVICE))


def fill_memories(model: nn.Module) -> None:
    """Fills the feature memories, as some thousand training steps would."""
    for module in model.modules():
        if isinstance(module, ClassMemory):
            module.vectors.uniform_(-0.1, 0.1)
            module.written.fill_(module.vectors.shape[1])


class Losses(nn.Module):
    """The losses of a method, with the layers that a `SegDistiller` would build."""

    def __init__(self, method: str) -> None:
        super().__init__()
        MMLogger.get_current_instance().setLevel('WARNING')
        configs = Config.fromfile(METHODS[method]).distiller.losses
        self.losses = nn.ModuleList(MODELS.build(cfg) for cfg in configs.values())
        widths = dict(WIDTHS, num_classes=CLASSES)
        for contract in map(contract_of, self.losses):
            contract.build_layers(**{key: widths[key] for key in signature(contract.build_layers).parameters})
        fill_memories(self)
        self.aligner = nn.Conv2d(WIDTHS['feats_S'], WIDTHS['feats_T'], 1)

    def forward(self, records: dict) -> Tensor:
        total = 0
        for loss in self.losses:
            taken = {name: records[name] for name in signature(loss.forward).parameters}
            if contract_of(loss).align:
                taken['feats_S'] = self.aligner(taken['feats_S'])
            total = total + loss(**taken)
        return total


def forward_and_backward(method: str, records: dict) -> Callable[[], None]:
    losses = Losses(method).to(DEVICE)
    return lambda: losses(records).backward()


def compare(runs: int, methods: list[str]) -> Iterator[dict]:
    records = random_records()
    kd_megabytes = peak_growth(partial(in_a_process_of_its_own, 'kd'), warm_up)
    for method in methods or METHODS:
        calls = {name: forward_and_backward(name, records) for name in dict.fromkeys(('kd', method))}
        times = milliseconds_in_turn(calls, runs)
        megabytes = kd_megabytes if method == 'kd' else peak_growth(partial(in_a_process_of_its_own, method), warm_up)
        yield dict(
            ratio(times[method], times['kd']), method=method, megabytes=megabytes, memory_ratio=megabytes / kd_megabytes
        )


def warm_up() -> None:
    RECORDS.update(random_records())
    forward_and_backward('kd', random_records(8))()


def in_a_process_of_its_own(method: str) -> Callable[[], None]:
    return forward_and_backward(method, RECORDS)


RECORDS: dict[str, Tensor] = {}  # inputs, which do not count as memory of the losses
