"""What the losses of a method cost beside plain KD: forward and backward, trained parts included.

On records of PSPNet R101 to R18 for 19 classes, batch 2, crop 256x256.
"""
import os.path as osp
from functools import partial
from glob import glob
from inspect import signature
from typing import Callable, Dict, Iterator, List

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS
from torch import Tensor, nn

from .masks import STRIDE, regions
from .measuring import milliseconds_in_turn, peak_growth, ratio

FORMAT = ('{method}: {ms:.1f} ms, {ratio:.1f} times ({ratio_least:.1f} to {ratio_most:.1f}); '
          '{megabytes:.0f} MB, {memory_ratio:.1f} times')
CONFIGS = osp.join(osp.dirname(osp.abspath(__file__)), '../../../configs/_base_/distillers')
METHODS = {osp.basename(path)[:-3]: path for path in sorted(glob(f'{CONFIGS}/*.py'))}
WIDTHS = dict(num_classes=19, feats_S=128, feats_T=512, backbone_S=[64, 128, 256, 512],
              backbone_T=[256, 512, 1024, 2048])


def random_records(size: int = 32) -> dict:
    def of(*widths) -> List[Tensor]:
        return [torch.randn(2, width, size, size) for width in widths]

    records = dict(gt=regions(19, 15, STRIDE * size, STRIDE * size))
    for side in 'ST':
        records[f'preds_{side}'], = of(19)
        records[f'feats_{side}'], = of(WIDTHS[f'feats_{side}'])
        records[f'backbone_{side}'] = of(*WIDTHS[f'backbone_{side}'])
    for record in (records['preds_S'], records['feats_S'], *records['backbone_S']):
        record.requires_grad_()
    return records


class Losses(nn.Module):
    """The losses of a method, with the parts that a `SegDistiller` would have made."""

    def __init__(self, method: str) -> None:
        super().__init__()
        MMLogger.get_current_instance().setLevel('WARNING')
        configs = Config.fromfile(METHODS[method]).distiller.losses
        self.losses = nn.ModuleList(MODELS.build(cfg) for cfg in configs.values())
        for loss in self.losses:
            if hasattr(loss, 'make_parts'):
                loss.make_parts(**{key: WIDTHS[key] for key in signature(loss.make_parts).parameters})
        self.aligner = nn.Conv2d(WIDTHS['feats_S'], WIDTHS['feats_T'], 1)

    def forward(self, records: dict) -> Tensor:
        total = 0
        for loss in self.losses:
            taken = {name: records[name] for name in signature(loss.forward).parameters}
            if getattr(loss, 'align', False):
                taken['feats_S'] = self.aligner(taken['feats_S'])
            total = total + loss(**taken)
        return total


def forward_and_backward(method: str, records: dict) -> Callable[[], None]:
    losses = Losses(method)
    return lambda: losses(records).backward()


def compare(runs: int, methods: List[str]) -> Iterator[dict]:
    records = random_records()
    kd_megabytes = peak_growth(partial(in_a_process_of_its_own, 'kd'), warm_up)
    for method in methods or METHODS:
        calls = {name: forward_and_backward(name, records) for name in dict.fromkeys(('kd', method))}
        times = milliseconds_in_turn(calls, runs)
        megabytes = kd_megabytes if method == 'kd' else peak_growth(partial(in_a_process_of_its_own, method), warm_up)
        yield dict(ratio(times[method], times['kd']), method=method, megabytes=megabytes,
                   memory_ratio=megabytes / kd_megabytes)


def warm_up() -> None:
    RECORDS.update(random_records())
    forward_and_backward('kd', random_records(8))()


def in_a_process_of_its_own(method: str) -> Callable[[], None]:
    return forward_and_backward(method, RECORDS)


RECORDS: Dict[str, Tensor] = {}  # not counted: what the losses are given
