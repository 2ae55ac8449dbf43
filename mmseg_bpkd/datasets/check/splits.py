"""Finds the datasets that a config uses for training, validation and testing."""

import os.path as osp
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmseg_bpkd.datasets.labels import LabelRule, parse_label_map

LOADERS = ('train', 'val', 'test')


@dataclass(frozen=True)
class Pair:
    """The paths of an image and its label, which is empty if the file does not exist."""

    split: str
    image: str
    label: str


@dataclass(frozen=True)
class Places:
    """Where a dataset looks for its files: folders of images and labels, and a file with the names of the images.

    Each is empty if the dataset has none. Without a list, it uses all images of the folder.
    """

    images: str = ''
    labels: str = ''
    listing: str = ''

    @classmethod
    def of(cls, source: dict, root: str) -> 'Places':
        """Reads the paths from `data_prefix` and `ann_file` of `source`, which are relative to `root`."""
        prefix = source.get('data_prefix') or {}
        labels, listing = prefix.get('seg_map_path'), source.get('ann_file')
        return cls(
            osp.join(root, prefix.get('img_path') or ''),
            '' if labels is None else osp.join(root, labels),
            osp.join(root, listing) if listing else '',
        )

    @property
    def remote(self) -> bool:
        return '://' in self.images


@dataclass
class Split:
    """One dataset of a config, and what the checks find out about it.

    Args:
        name: such as 'train', or 'train part 2' if a wrapper joins several datasets.
        loader: 'train', 'val' or 'test'.
        cfg: config of the dataset without wrappers and pipeline.
        pipeline: its transforms, followed by those of its wrappers.
        batch_size: of its loader.
        dataset: the dataset, built without its pipeline. None if it cannot be built.
        listed: number of images that the dataset lists. None if they cannot be listed or have no files.
        pairs: images that exist, with their labels.
        note: why there is nothing to check.
    """

    name: str
    loader: str
    cfg: dict
    pipeline: list[dict]
    batch_size: int = 1
    dataset: Any = None
    places: Places = Places()
    listed: int | None = None
    pairs: list[Pair] = field(default_factory=list)
    note: str = ''

    def transform(self, *types: str) -> dict:
        """The config of the first transform of one of these types, or an empty dict."""
        return next((transform for transform in self.pipeline if type_name(transform) in types), {})

    @property
    def type(self) -> str:
        return type_name(self.cfg)

    @property
    def label_transform(self) -> dict:
        return self.transform('LoadCheckedAnnotations', 'LoadAnnotations')

    @property
    def reduce_zero_label(self) -> bool:
        """As stated in the pipeline, or else in the dataset."""
        stated = self.label_transform.get('reduce_zero_label')
        return bool(self.dataset.reduce_zero_label if stated is None else stated)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes: 'class 0', 'class 1', ... if the dataset has no names."""
        named = self.dataset.metainfo.get('classes')
        return tuple(named or (f'class {i}' for i in range(self.label_transform.get('num_classes', 0))))

    @property
    def palette(self) -> list[tuple[int, int, int]]:
        """The RGB colors of the classes: random but fixed colors if the dataset has no palette."""
        given = self.dataset.metainfo.get('palette') or []
        fits = len(given) == len(self.classes)
        return given if fits else np.random.default_rng(0).integers(0, 256, (len(self.classes), 3)).tolist()

    @property
    def ignore_index(self) -> int:
        return self.label_transform.get('ignore_index', 255)

    @property
    def rule(self) -> LabelRule:
        """Which values of the label files stand for which classes."""
        label_map = parse_label_map(self.label_transform.get('label_map'))
        custom_classes = self.dataset.metainfo.get('label_map')
        return LabelRule(len(self.classes), self.ignore_index, label_map, self.reduce_zero_label, custom_classes)


def splits_of(cfg: dict) -> list[Split]:
    """The datasets of the train, val and test loaders. One for both validation and testing appears once."""
    splits: list[Split] = []
    for loader in LOADERS:
        settings = cfg.get(f'{loader}_dataloader') or {}
        dataset = settings.get('dataset')
        parts = list(_unwrap(dataset, [])) if dataset else []
        for i, (part, pipeline) in enumerate(parts):
            # Validation on the training set must be reported, so only val and test share a split.
            same = (split for split in splits if 'train' not in (loader, split.loader) or loader == split.loader)
            if not any({**part, 'test_mode': None} == {**split.cfg, 'test_mode': None} for split in same):
                name = loader if len(parts) == 1 else f'{loader} part {i + 1}'
                splits.append(Split(name, loader, part, pipeline, settings.get('batch_size', 1)))
    return splits


def _unwrap(cfg: dict, outer: list[dict]) -> Iterator[tuple[dict, list[dict]]]:
    """Yields each dataset inside of wrappers such as RepeatDataset and ConcatDataset, with all of its transforms."""
    pipeline = list(cfg.get('pipeline') or []) + outer
    inner = cfg.get('datasets') or ([cfg['dataset']] if 'dataset' in cfg else [])
    if not inner:
        yield {key: value for key, value in cfg.items() if key != 'pipeline'}, pipeline
    for child in inner:
        yield from _unwrap(child, pipeline)


def type_name(cfg: dict) -> str:
    """The type of a config, which may be a string or a class, as a string."""
    return getattr(cfg.get('type'), '__name__', str(cfg.get('type')))
