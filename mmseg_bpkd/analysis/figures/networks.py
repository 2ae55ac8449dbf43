"""The networks and the test images of a figure."""

import copy
import os.path as osp
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import DATASETS
from torch import Tensor, nn

from mmseg_bpkd.config.reading import read_config
from mmseg_bpkd.datasets.check.roots import check_data_roots
from mmseg_bpkd.deploy.predict import Predictor, check_same_classes, loads
from mmseg_bpkd.fileio.checkpoint import read_checkpoint
from mmseg_bpkd.models.roles import is_seg_distill
from mmseg_bpkd.models.segmentors import resolve_teacher, trained_normalization

TEACHER = 'teacher'
VOID = 255  # in the labels of `TestImages`


@dataclass
class Network:
    """A network of a figure.

    Args:
        name: its title.
        cfg: its config. Of the teacher of a distillation, one whose model is the teacher.
        predictor: the network with its weights.
    """

    name: str
    cfg: Config
    predictor: Predictor

    @property
    def model(self) -> BaseModel:
        return self.predictor.model

    @property
    def classes(self) -> tuple[str, ...]:
        return self.predictor.meta['classes']


def load_networks(descriptions: Sequence[str], options: dict | None = None) -> list[Network]:
    """Loads networks that are described as NAME=CONFIG,CHECKPOINT.

    Args:
        descriptions: CONFIG is that of a plain run, or of a distillation, which stands for its student. With the word
            `teacher` as CHECKPOINT, it stands for its teacher, with the weights of `teacher_ckpt`.
        options: changes to every config, see `merge_options`.

    Raises:
        FileNotFoundError: if a config or a checkpoint does not exist.
        ValueError: if a description has another form, if a name occurs twice, if a config has no teacher, if a
            checkpoint does not fit, or if the networks have different classes.
    """
    networks: list[Network] = []
    for description in descriptions:
        name, _, files = description.partition('=')
        config, _, checkpoint = files.rpartition(',')
        if not (name and config and checkpoint):
            raise ValueError(f'expected NAME=CONFIG,CHECKPOINT or NAME=CONFIG,{TEACHER}, got {description!r}')
        if name in [network.name for network in networks]:
            raise ValueError(f'two networks are named {name!r}: give them different names')
        cfg = read_config(config, options or {})
        if checkpoint == TEACHER:
            checkpoint = _become_teacher(cfg, config)
        networks.append(Network(name, cfg, Predictor(cfg, checkpoint)))
    check_same_classes([network.name for network in networks], [network.predictor for network in networks])
    return networks


def _become_teacher(cfg: Config, path: str) -> str:
    """Replaces the model of a distillation by its teacher, without auxiliary head. Returns the teacher's checkpoint."""
    if not is_seg_distill(cfg.model) or not cfg.model.get('teacher_ckpt'):
        raise ValueError(f'{path} has no teacher with a teacher_ckpt: give the path of a checkpoint')
    distillation = cfg.model
    source = distillation.teacher_ckpt
    known = trained_normalization(distillation.teacher, read_checkpoint(source), source)
    common = {key: distillation.get(key) for key in ('num_classes', 'data_preprocessor', 'ignore_index')}
    teacher = resolve_teacher(distillation.teacher, **common, trained_with=known and known[0])
    teacher.test_cfg = distillation.test_cfg
    teacher.pop('auxiliary_head', None)
    cfg.model = teacher
    return distillation.teacher_ckpt


class TestImages:
    """The images and labels of the test set of a config, as they are before the other steps of its pipeline.

    Args:
        cfg: a config with `test_dataloader`.

    Raises:
        FileNotFoundError: if a data folder does not exist.
    """

    __test__ = False  # it is not a test of pytest

    def __init__(self, cfg: Config) -> None:
        steps = cfg.test_dataloader.dataset.get('pipeline', [])
        self.void = next((s.ignore_index for s in steps if 'ignore_index' in s), cfg.model.get('ignore_index'))
        check_data_roots(cfg, 'test_dataloader')
        dataset = copy.deepcopy(cfg.test_dataloader.dataset)
        dataset.pipeline = [step for step in dataset.pipeline if loads(step)]
        self.dataset = DATASETS.build(dataset)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns an image, (H, W, 3) uint8, BGR, and its label, (H, W) int64, with `VOID` for void."""
        sample = self.dataset[index]
        label = sample['gt_seg_map'].astype(np.int64)
        return sample['img'], label if self.void is None else np.where(label == self.void, VOID, label)

    def name(self, index: int) -> str:
        """Returns the name of the file of an image, without its ending."""
        return osp.splitext(osp.basename(self.dataset.get_data_info(index)['img_path']))[0]

    def spread(self, count: int | None) -> list[int]:
        """Returns the indices of `count` images, spread evenly over the test set; of all images for None."""
        return evenly(len(self), count or len(self))

    def find(self, wanted: Sequence[str]) -> list[int]:
        """Returns the indices of images that are given by name or by index.

        Raises:
            ValueError: if there is no such image.
        """
        names = [self.name(index) for index in range(len(self))]
        indices = []
        for text in wanted:
            if text in names:
                indices.append(names.index(text))
            elif text.isdigit() and int(text) < len(names):
                indices.append(int(text))
            else:
                raise ValueError(
                    f'no test image {text!r}: give a name, such as {names[0]!r}, or an index from 0 to {len(names) - 1}'
                )
        return indices

    def with_class(self, cls: int, count: int) -> list[int]:
        """Returns up to `count` images in which a class occurs, of 50 that are spread evenly over the test set."""
        found = [index for index in self.spread(50) if (self[index][1] == cls).any()]
        return [found[place] for place in evenly(len(found), count)]


def evenly(total: int, count: int) -> list[int]:
    """Returns `count` numbers from 0 to `total` - 1, spread evenly; all of them if there are fewer."""
    return np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist()


def activation(model: BaseModel, inputs: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """Runs a network and keeps the output of a layer.

    Args:
        inputs: the preprocessed image, (1, 3, h, w).
        layer: the path of a module, such as 'backbone.layer1'. A number selects one of several outputs: 'backbone:0' is
            the first stage of any backbone, 'backbone:-1' the last one.

    Returns:
        The output of the layer, (1, K, i, j), and the logits at the size of the image, (1, C, h, w).

    Raises:
        ValueError: if there is no such layer, if it does not run, or if its output is not such a tensor.
    """
    kept: list[Any] = []

    def keep(module: nn.Module, args: tuple, output: Any) -> Any:
        kept.append(output)
        return output.clone() if isinstance(output, Tensor) else output  # the next layer may change it in place

    path, _, place = layer.partition(':')
    handle = _find_module(model, path, layer).register_forward_hook(keep)
    try:
        logits = model.encode_decode(inputs, [dict(img_shape=inputs.shape[2:])])
    finally:
        handle.remove()
    if not kept:
        raise ValueError(f'layer {layer!r}: {path} is not used when the network predicts')
    return _select(kept[0], place, layer), logits


def _find_module(model: nn.Module, path: str, layer: str) -> nn.Module:
    module = model
    found: list[str] = []
    for part in path.split('.'):
        children = {name: child for name, child in module.named_children() if child is not None}
        if part not in children:
            where = '.'.join(found) or 'the network'
            raise ValueError(f'no layer {layer!r}: {where} has {", ".join(children) or "no layers"}, not {part!r}')
        module = children[part]
        found.append(part)
    return module


def _select(output: Any, place: str, layer: str) -> Tensor:
    if isinstance(output, (list, tuple)):
        several = f'layer {layer!r} has {len(output)} outputs'
        try:
            output = output[int(place)]
        except (ValueError, IndexError):
            raise ValueError(f'{several}: choose one with {layer.partition(":")[0]}:0 and so on') from None
    elif place:
        raise ValueError(f'layer {layer!r} has one output: leave out ":{place}"')
    if not isinstance(output, Tensor) or output.dim() != 4:
        what = f'of shape {tuple(output.shape)}' if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f'layer {layer!r}: expected an output of shape (N, channels, height, width), got one {what}')
    return output


def resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Returns maps, (N, h, w), at another size, bilinear."""
    return torch.nn.functional.interpolate(maps[:, None], size, mode='bilinear', align_corners=False)[:, 0]
