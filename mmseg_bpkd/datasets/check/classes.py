"""Compares the classes of the datasets with those of the pipeline, of the student and of the teacher."""

from collections.abc import Iterator
from contextlib import suppress
from functools import partial

from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from mmseg_bpkd.models.roles import is_seg_distill, student_config
from mmseg_bpkd.models.segmentors import check_number_of_classes, head_classes, resolve_segmentor

from .splits import Split, splits_of, type_name


def check_classes(cfg: Config, *loaders: str) -> None:
    """Compares the classes of all parts of a config, before anything is trained or tested.

    Args:
        loaders: 'train', 'val' or 'test', those whose datasets are used. The teacher is compared for 'train' only.

    Raises:
        ValueError: if a dataset has no class names, or parts have different numbers of classes.
    """
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        splits = splits_of({f'{loader}_dataloader': cfg.get(f'{loader}_dataloader') for loader in loaders})
        for split in splits:
            with suppress(Exception):  # the Runner says why a dataset cannot be built
                split.dataset = DATASETS.build(dict(split.cfg, pipeline=[], lazy_init=True))
        for split in splits:
            for problem in _one_string(split):
                raise ValueError(f'{split.name}: {problem}')
        splits = [split for split in splits if hasattr(split.dataset, 'metainfo')]
        model = cfg.model if 'train' in loaders else student_config(cfg.model)
        for check in (class_problems, partial(model_problems, model=model)):
            for split in splits:
                for problem in check(split):
                    raise ValueError(f'{split.name}: {problem}')


def class_problems(split: Split) -> list[str]:
    """One sentence if the built dataset has no class names, too many, or not as many as its pipeline."""
    names, stated = split.dataset.metainfo.get('classes'), split.label_transform.get('num_classes')
    if isinstance(names, str):
        return _one_string(split)
    if not names:
        return [
            f'{split.type} has no class names, which validation needs: set metainfo=dict(classes=(...)) in '
            f'{split.loader}_dataloader.dataset'
        ]
    try:
        check_number_of_classes(len(names))
    except ValueError as error:
        return [f'{split.type} has {error}']
    if stated not in (None, len(names)):
        return [
            f'num_classes is {stated} in the pipeline, but {split.type} has {len(names)} classes: set '
            f'num_classes to {len(names)}, in LoadCheckedAnnotations and in the config'
        ]
    return []


def _one_string(split: Split) -> list[str]:
    """One sentence if the names of the classes are a string, whose letters would count as classes."""
    built = getattr(split.dataset, 'metainfo', None)  # a subset of the classes of a dataset class fails to be built
    names = ((split.cfg.get('metainfo') or {}) if built is None else built).get('classes')
    if not isinstance(names, str):
        return []
    return [
        f'classes is the string {names!r}, expected a tuple of names or the path of a file with one name per line: '
        f'write classes=({names!r},) in metainfo; in Python, the comma makes the tuple'
    ]


def model_problems(split: Split, model: dict) -> list[str]:
    """One sentence for each network of a model that has another number of classes than the built dataset.

    One more if training labels are padded with another value than that of void.
    """
    names = split.dataset.metainfo.get('classes')
    return _padding_problems(split, model) + [
        f'{split.type} has {len(names)} classes, but the {head} of the {network} has num_classes={count}: set '
        f'num_classes of the model to {len(names)}, or use other data'
        for network, head, count in _class_counts(model)
        if names and count != len(names)
    ]


def _padding_problems(split: Split, model: dict) -> list[str]:
    padding = (student_config(model).get('data_preprocessor') or {}).get('seg_pad_val', 255)
    if split.loader != 'train' or not split.label_transform or padding == split.ignore_index:
        return []
    return [
        f'the data_preprocessor pads labels with seg_pad_val={padding}, but void is ignore_index='
        f'{split.ignore_index} in {type_name(split.label_transform)}: set both to the same value'
    ]


def _class_counts(model: dict) -> Iterator[tuple[str, str, int]]:
    """Yields (network, head, number of classes)."""
    networks = dict(student=student_config(model))
    if is_seg_distill(model) and isinstance(model['teacher'], dict):
        networks['teacher'] = resolve_segmentor(model['teacher'], model.get('num_classes'))
    for network, config in networks.items():
        for head, count in head_classes(config):
            yield network if len(networks) > 1 else 'network', head, count
