"""Transforms that MMSegmentation's pipelines lack: seeded augmentation, labels that are checked when read.

And two of its own that take less time: from the same seeds they make the same images and labels, pixel by pixel.
"""

import os.path as osp
import random
from typing import Tuple

import cv2
import mmcv
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmengine.registry import TRANSFORMS
from mmseg.datasets.transforms import LoadAnnotations, PhotoMetricDistortion, RandomCrop

from .sampler import SampleIndex


def _histogram(label: np.ndarray) -> np.ndarray:
    """How many pixels have each of the 256 values of a byte."""
    return cv2.calcHist([label.reshape(-1)], [0], None, [256], [0, 256]).ravel().astype(int)


@TRANSFORMS.register_module()
class SeedAugmentation(BaseTransform):
    """Seeds the random transforms behind it from the sample's position in the stream of `ResumableSampler`.

    The augmentation of a sample then depends neither on how many workers load the data nor on whether the run was
    interrupted before it.
    """

    def transform(self, results: dict) -> dict:
        index = results['sample_idx']
        if not isinstance(index, SampleIndex):
            raise TypeError(
                f'SeedAugmentation needs the seeds that sampler=dict(type="ResumableSampler") hands to the '
                f'data set, but got a plain index {index}: another sampler, or a data set wrapper that '
                'renumbers its samples, stands in between'
            )
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
        values = np.flatnonzero(_histogram(results['gt_seg_map']))
        wrong = values[(values >= self.num_classes) & (values != self.ignore_index)]
        if len(wrong):
            raise ValueError(
                f'label {path} has the values {wrong.tolist()}: expected classes 0 to '
                f'{self.num_classes - 1}, or {self.ignore_index} for void'
            )


BYTES = np.arange(256, dtype=np.uint8)


@TRANSFORMS.register_module()
class FastRandomCrop(RandomCrop):
    """`RandomCrop` that counts the labels of a crop, where MMSegmentation sorts them; labels are bytes."""

    @cache_randomness
    def crop_bbox(self, results: dict) -> Tuple[int, int, int, int]:
        box = self._draw(results['img'].shape)
        if self.cat_max_ratio < 1:
            for _ in range(10):
                if self._is_mixed(self.crop(results['gt_seg_map'], box)):
                    break
                box = self._draw(results['img'].shape)
        return box

    def _draw(self, shape: Tuple[int, ...]) -> Tuple[int, int, int, int]:
        top, left = (np.random.randint(0, max(extent - crop, 0) + 1) for extent, crop in zip(shape, self.crop_size))
        return top, top + self.crop_size[0], left, left + self.crop_size[1]

    def _is_mixed(self, label: np.ndarray) -> bool:
        counts = _histogram(label)
        counts[BYTES == self.ignore_index] = 0
        return np.count_nonzero(counts) > 1 and counts.max() / counts.sum() < self.cat_max_ratio


@TRANSFORMS.register_module()
class FastPhotoMetricDistortion(PhotoMetricDistortion):
    """`PhotoMetricDistortion` of images of bytes: calculates for the 256 values, and looks the pixels up."""

    def convert(self, img: np.ndarray, alpha: float = 1, beta: float = 0) -> np.ndarray:
        return cv2.LUT(img, super().convert(BYTES, alpha, beta))

    def hue(self, img: np.ndarray) -> np.ndarray:
        if not np.random.randint(2):
            return img
        img = mmcv.bgr2hsv(img)
        turn = np.random.randint(-self.hue_delta, self.hue_delta)
        img[:, :, 0] = cv2.LUT(img[:, :, 0], ((BYTES.astype(int) + turn) % 180).astype(np.uint8))
        return mmcv.hsv2bgr(img)
