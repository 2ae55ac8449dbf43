"""The label of void pixels, which a config states once: `model.ignore_index`, from `task` of the data set."""

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config, ConfigDict

from mmseg_bpkd.fileio.package_files import paths_of
from mmseg_bpkd.models.roles import takes_task

from .signatures import arguments_of, registered

NAMES = ('ignore_index', 'seg_pad_val')
DEFAULT = 255  # of all transforms, heads and metrics
PLACES = ('train_dataloader', 'val_dataloader', 'test_dataloader', 'val_evaluator', 'test_evaluator')


def share_ignore_index(cfg: Config) -> None:
    """Gives each transform, data set and metric of a config the label of void pixels of its model, in place.

    `SegDistill` and `plain_segmentor` give it to heads, losses and padding.

    Raises:
        ValueError: if one of them states another label, or if a label would become 255 by `reduce_zero_label`.
    """
    model = cfg.get('model')
    if not isinstance(model, dict) or not takes_task(model):  # MMSegmentation's and MMRazor's have no such argument
        return
    void = model.get('ignore_index')
    void = DEFAULT if void is None else void
    for path, node in _nodes(cfg):
        for name in NAMES:
            if node.get(name, void) != void:
                given = '' if model.get('ignore_index') is not None else ', since it is not given'
                raise ValueError(
                    f'{path}.{name} is {node[name]}, but model.ignore_index is {void}{given}: set ignore_index of '
                    f'`task` to the label of void pixels, and leave it out of {path}'
                )
        if void == DEFAULT:
            continue
        if node.get('reduce_zero_label'):
            raise ValueError(
                f'{path}.reduce_zero_label=True makes void pixels {DEFAULT}, but model.ignore_index is {void}: leave '
                'ignore_index out'
            )
        for name in NAMES:
            if _takes(node['type'], name):
                node[name] = void


def _nodes(cfg: Config) -> Iterator[tuple[str, ConfigDict]]:
    for place in PLACES:
        for path, node in list(paths_of(cfg.get(place), f'{place}.')):
            if isinstance(node, dict) and 'type' in node:
                yield path.rstrip('.'), node


def _takes(kind: Any, name: str) -> bool:
    targets = registered(kind) if isinstance(kind, str) else [kind]
    return any(name in arguments_of(target)[0] for target in targets)
