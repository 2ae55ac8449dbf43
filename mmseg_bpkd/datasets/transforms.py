"""Transforms that MMSegmentation's pipelines lack: seeded augmentation, labels that are checked when read."""
import os.path as osp
import random

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from mmseg.datasets.transforms import LoadAnnotations

from .sampler import SampleIndex


@TRANSFORMS.register_module()
class SeedAugmentation(BaseTransform):
    """Seeds the random transforms behind it from the sample's position in the stream of `ResumableSampler`.

    The augmentation of a sample then depends neither on how many workers load the data nor on whether the run was
    interrupted before it.
    """

    def transform(self, results: dict) -> dict:
        index = results['sample_idx']
        if not isinstance(index, SampleIndex):
            raise TypeError(f'SeedAugmentation needs the seeds that sampler=dict(type="ResumableSampler") hands to the '
                            f'data set, but got a plain index {index}: another sampler, or a data set wrapper that '
                            'renumbers its samples, stands in between')
        random.seed(index.seed)
        np.random.seed(index.seed)
        torch.manual_seed(index.seed)
        return results


@TRANSFORMS.register_module()
class LoadCheckedAnnotations(LoadAnnotations):
    """`LoadAnnotations` that names the file of a missing label and of one with values outside the classes.

    Checking here costs no synchronisation with a GPU later.

    Args:
        num_classes: labels must lie in [0, num_classes), or be `ignore_index`.
    """

    def __init__(self, num_classes: int, ignore_index: int = 255, **kwargs) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.ignore_index = ignore_index

    def _load_seg_map(self, results: dict) -> None:
        path = results['seg_map_path']
        if '://' not in path and not osp.isfile(path):
            raise FileNotFoundError(f'image {results["img_path"]} has no label: expected {path}')
        super()._load_seg_map(results)
        label = results['gt_seg_map']
        wrong = (label >= self.num_classes) & (label != self.ignore_index)
        if wrong.any():
            raise ValueError(f'label {path} has the values {np.unique(label[wrong]).tolist()}: expected classes 0 to '
                             f'{self.num_classes - 1}, or {self.ignore_index} for void')
