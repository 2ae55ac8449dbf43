"""The data sets that a config trains, validates and tests on."""

from dataclasses import dataclass
from typing import Iterator, List, Optional, Tuple

import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset

from .files import Pair, Places

LOADERS = ('train', 'val', 'test')


@dataclass
class Split:
    """One data set of a config, and what is learned about it.

    Args:
        name: 'train', or 'train part 2' where a wrapper holds several.
        cfg: of the data set itself, inside of all wrappers and without its pipeline.
        pipeline: the transforms of its samples, those of wrappers included.
    """

    name: str
    loader: str
    cfg: dict
    pipeline: List[dict]
    dataset: Optional[BaseDataset] = None
    places: Optional[Places] = None
    listed: int = 0
    pairs: Optional[List[Pair]] = None  # None where its images cannot be listed
    note: str = ''

    def transform(self, *types: str) -> dict:
        """The first transform of one of these types, or an empty dict."""
        return next((transform for transform in self.pipeline if type_name(transform) in types), {})

    @property
    def type(self) -> str:
        return type_name(self.cfg)

    @property
    def loads_labels(self) -> dict:
        return self.transform('LoadCheckedAnnotations', 'LoadAnnotations')

    @property
    def reduce_zero_label(self) -> bool:
        stated = self.loads_labels.get('reduce_zero_label')
        return bool(self.dataset.reduce_zero_label if stated is None else stated)

    @property
    def classes(self) -> Tuple[str, ...]:
        named = self.dataset.metainfo.get('classes')
        return tuple(named or (f'class {i}' for i in range(self.loads_labels.get('num_classes', 0))))

    @property
    def palette(self) -> List[Tuple[int, int, int]]:
        given = self.dataset.metainfo.get('palette') or []
        fits = len(given) == len(self.classes)
        return given if fits else np.random.default_rng(0).integers(0, 256, (len(self.classes), 3)).tolist()

    @property
    def ignore_index(self) -> int:
        return self.loads_labels.get('ignore_index', 255)


def splits_of(cfg: Config) -> List[Split]:
    """Data sets of the train, val and test loaders, in this order; what is validated and tested on is there once."""
    splits: List[Split] = []
    for loader in LOADERS:
        dataset = (cfg.get(f'{loader}_dataloader') or {}).get('dataset')
        parts = list(_leaves(dataset, [])) if dataset else []
        for i, (leaf, pipeline) in enumerate(parts):
            if not any(_same_data(leaf, split.cfg) and _interchangeable(loader, split.loader) for split in splits):
                name = loader if len(parts) == 1 else f'{loader} part {i + 1}'
                splits.append(Split(name, loader, leaf, pipeline))
    return splits


def _leaves(cfg: dict, outer: List[dict]) -> Iterator[Tuple[dict, List[dict]]]:
    pipeline = list(cfg.get('pipeline') or []) + outer
    inner = cfg.get('datasets') or ([cfg['dataset']] if 'dataset' in cfg else [])
    if not inner:
        yield {key: value for key, value in cfg.items() if key != 'pipeline'}, pipeline
    for child in inner:
        yield from _leaves(child, pipeline)


def _same_data(a: dict, b: dict) -> bool:
    return {**a, 'test_mode': None} == {**b, 'test_mode': None}


def _interchangeable(a: str, b: str) -> bool:
    return a == b or 'train' not in (a, b)  # validating on the training set is a mistake to be found


def type_name(cfg: dict) -> str:
    """The name of a type that a config gives as a string, or as a class."""
    return getattr(cfg.get('type'), '__name__', cfg.get('type'))
