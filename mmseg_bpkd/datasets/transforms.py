"""Transforms that MMSegmentation lacks: seeded augmentation, and labels that are checked when they are loaded.

The module also has faster versions of two MMSegmentation transforms. With the same seed they return exactly the same
images and labels.
"""

import os.path as osp
import random

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
    """Number of pixels with each value of a uint8 label: (H, W) to (256,) int."""
    return cv2.calcHist([label.reshape(-1)], [0], None, [256], [0, 256]).ravel().astype(int)


@TRANSFORMS.register_module()
class SeedAugmentation(BaseTransform):
    """Seeds Python, NumPy and PyTorch for the transforms that follow, with the seed that `ResumableSampler` provides.

    The augmentation of a sample then depends only on its position in the sampler's stream. It does not depend on the
    number of workers or on whether the run was resumed.

    Raises:
        TypeError: if the dataset index is not a `SampleIndex`.
    """

    def transform(self, results: dict) -> dict:
        index = results['sample_idx']
        if not isinstance(index, SampleIndex):
            raise TypeError(
                f'SeedAugmentation needs a dataset index with a seed, got the plain index {index}: set '
                'sampler=dict(type="ResumableSampler") in the dataloader, and use no dataset wrappers other than '
                'RepeatDataset and ConcatDataset'
            )
        random.seed(index.seed)
        np.random.seed(index.seed)
        torch.manual_seed(index.seed)
        return results


@TRANSFORMS.register_module()
class LoadCheckedAnnotations(LoadAnnotations):
    """`LoadAnnotations` that checks each label file.

    The check runs here because a check in the training step would force a GPU synchronization.

    Args:
        num_classes: valid labels are 0 to num_classes - 1.
        ignore_index: the label of void pixels, also valid.

    Raises:
        FileNotFoundError: if the label file does not exist.
        ValueError: if the label has other values, or another size than the image. The message names the file.
    """

    def __init__(self, num_classes: int, ignore_index: int = 255, **kwargs) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.ignore_index = ignore_index

    def _load_seg_map(self, results: dict) -> None:
        path = results['seg_map_path']
        if '://' not in path and not osp.isfile(path):
            raise FileNotFoundError(
                f'image {results["img_path"]} has no label: expected {path}; bpkd check CONFIG checks all files'
            )
        super()._load_seg_map(results)
        label_size, image_size = results['gt_seg_map'].shape, results.get('ori_shape', results['gt_seg_map'].shape)
        if label_size != image_size:
            raise ValueError(
                f'label {path} is {_joined(label_size)} and its image {results["img_path"]} is {_joined(image_size)} '
                '(height x width), expected the same size; tools/check_dataset.py checks all files'
            )
        values = np.flatnonzero(_histogram(results['gt_seg_map']))
        wrong = values[(values >= self.num_classes) & (values != self.ignore_index)]
        if len(wrong):
            raise ValueError(
                f'label {path} has the values {wrong.tolist()}: expected classes 0 to '
                f'{self.num_classes - 1}, or {self.ignore_index} for void; bpkd check CONFIG names likely causes'
            )


def _joined(shape: tuple[int, ...]) -> str:
    return ' x '.join(map(str, shape))


BYTES = np.arange(256, dtype=np.uint8)


@TRANSFORMS.register_module()
class FastRandomCrop(RandomCrop):
    """A faster `RandomCrop` for uint8 labels. It counts the labels of a crop by a histogram instead of sorting them."""

    @cache_randomness
    def crop_bbox(self, results: dict) -> tuple[int, int, int, int]:
        box = self._random_box(results['img'].shape)
        if self.cat_max_ratio < 1:
            for _ in range(10):  # MMSegmentation also tries 10 times
                if self._within_cat_max_ratio(self.crop(results['gt_seg_map'], box)):
                    break
                box = self._random_box(results['img'].shape)
        return box

    def _random_box(self, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
        top, left = (np.random.randint(0, max(extent - crop, 0) + 1) for extent, crop in zip(shape, self.crop_size))
        return top, top + self.crop_size[0], left, left + self.crop_size[1]

    def _within_cat_max_ratio(self, label: np.ndarray) -> bool:
        counts = _histogram(label)
        counts[self.ignore_index == BYTES] = 0
        return bool(np.count_nonzero(counts) > 1 and counts.max() / counts.sum() < self.cat_max_ratio)


@TRANSFORMS.register_module()
class FastPhotoMetricDistortion(PhotoMetricDistortion):
    """A faster `PhotoMetricDistortion` for uint8 images.

    It transforms the 256 possible values once and applies them as a lookup table. Images without three channels get
    another brightness and contrast, but no other saturation and hue.
    """

    def transform(self, results: dict) -> dict:
        image = results['img']
        if image.dtype != np.uint8:
            raise TypeError(
                f'{type(self).__name__} needs images of 8 bits, but {results.get("img_path", "one")} was loaded as '
                f'{image.dtype}: leave this transform out'
            )
        if image.ndim == 3 and image.shape[2] == 3:
            return super().transform(results)
        results['img'] = self.contrast(self.brightness(image))
        return results

    def convert(self, img: np.ndarray, alpha: float = 1, beta: float = 0) -> np.ndarray:
        return cv2.LUT(img, super().convert(BYTES, alpha, beta))

    def hue(self, img: np.ndarray) -> np.ndarray:
        if not np.random.randint(2):
            return img
        img = mmcv.bgr2hsv(img)
        turn = np.random.randint(-self.hue_delta, self.hue_delta)
        img[:, :, 0] = cv2.LUT(img[:, :, 0], ((BYTES.astype(int) + turn) % 180).astype(np.uint8))
        return mmcv.hsv2bgr(img)
