"""Transforms that MMSegmentation lacks: seeded augmentation, and labels that are checked when they are loaded.

The module also has faster versions of two MMSegmentation transforms. With the same seed they return exactly the same
images and labels.
"""

import os.path as osp
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

import cv2
import mmcv
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmengine import fileio
from mmengine.registry import TRANSFORMS
from mmseg.datasets.transforms import LoadAnnotations, PhotoMetricDistortion, RandomCrop

from mmseg_bpkd.models.segmentors import check_number_of_classes

from .labels import DataError, LabelRule, format_values, histogram, parse_label_map
from .sampler import SampleIndex


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
    """`LoadAnnotations` that checks each label file, before its values are stored in bytes.

    The check runs here because a check in the training step would force a GPU synchronization.

    Args:
        num_classes: valid labels are 0 to num_classes - 1.
        ignore_index: the label of void pixels, also valid.
        label_map: the class of each value in the files, if these are not the classes: {value: class}, such as
            `{0: 0, 255: 1}` for binary masks; for color masks `{(red, green, blue): class}`, or a list with the color
            of each class. Values that the map does not have stay as they are. Other colors are errors. The map is
            applied before `reduce_zero_label`.

    Raises:
        FileNotFoundError: if the label file does not exist.
        DataError: if the label has other values or channels, or another size than the image. The message names the
            file.
        ValueError: if there are more than 255 classes, or `label_map` is malformed.
    """

    def __init__(
        self, num_classes: int, ignore_index: int = 255, label_map: Mapping | Sequence | None = None, **kwargs
    ) -> None:
        super().__init__(**kwargs)
        check_number_of_classes(num_classes)
        self.rule = LabelRule(num_classes, ignore_index, parse_label_map(label_map))

    def _load_seg_map(self, results: dict) -> None:
        path = results.get('seg_map_path')
        if path is None:
            raise DataError(
                f'image {results["img_path"]} has no label: set data_prefix.seg_map_path of the data set; to predict '
                'without labels, use bpkd predict'
            )
        if '://' not in path and not osp.isfile(path):
            raise FileNotFoundError(
                f'image {results["img_path"]} has no label: expected {path}; bpkd check CONFIG checks all files'
            )
        label = self._read(path)
        size = results.get('ori_shape', label.shape[:2])
        if label.shape[:2] != size:
            raise DataError(
                f'label {path} is {_joined(label.shape[:2])} and its image {results["img_path"]} is {_joined(size)} '
                '(height x width), expected the same size; bpkd check CONFIG checks all files'
            )
        reduced = results.get('reduce_zero_label', False)
        if self.reduce_zero_label not in (None, reduced):
            raise ValueError(
                f'reduce_zero_label is {reduced} in the dataset, but {self.reduce_zero_label} in '
                'LoadCheckedAnnotations: set both to the same value'
            )
        rule = replace(self.rule, reduce_zero_label=reduced, custom_classes=results.get('label_map'))
        classes, wrong = rule.classes(label)
        if wrong:
            raise DataError(
                f'label {path} has the values {format_values(wrong)}: expected {rule.expected}; '
                'bpkd check CONFIG names likely causes'
            )
        results['gt_seg_map'] = classes.astype(np.uint8, copy=False)
        results['seg_fields'].append('gt_seg_map')

    def _read(self, path: str) -> np.ndarray:
        """Returns the values of a label file, (H, W), or its colors, (H, W, 3) RGB."""
        content = fileio.get(path, backend_args=self.backend_args)
        label = mmcv.imfrombytes(content, flag='unchanged', backend=self.imdecode_backend)
        channels = 1 if label.ndim == 2 else label.shape[2]
        if channels not in ((3, 4) if self.rule.needs_colors else (1,)):
            raise DataError(
                f'label {path} has {channels} channels, expected '
                + ('a color image, because label_map has colors' if self.rule.needs_colors else 'one, of class indices')
                + '. For masks in color, set label_map of LoadCheckedAnnotations: bpkd check CONFIG prints the line'
            )
        if self.rule.needs_colors:  # without alpha; mmcv returns BGR, but not from tifffile
            return label[..., :3] if self.imdecode_backend == 'tifffile' else label[..., 2::-1]
        return label.reshape(label.shape[:2])


def _joined(shape: tuple[int, ...]) -> str:
    return ' x '.join(map(str, shape))


BYTES = np.arange(256, dtype=np.uint8)


@TRANSFORMS.register_module()
class FastRandomCrop(RandomCrop):
    """A faster `RandomCrop` for uint8 labels. It counts the labels of a crop by a histogram instead of sorting them.

    Raises:
        DataError: if the label is not uint8. A histogram would leave other values out.
    """

    @cache_randomness
    def crop_bbox(self, results: dict) -> tuple[int, int, int, int]:
        if self.cat_max_ratio < 1 and results['gt_seg_map'].dtype != np.uint8:
            raise DataError(
                f'FastRandomCrop needs uint8 labels, got {results["gt_seg_map"].dtype}: load them with '
                'LoadCheckedAnnotations, or use RandomCrop'
            )
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
        counts = histogram(label)
        counts[self.ignore_index == BYTES] = 0
        return bool(np.count_nonzero(counts) > 1 and counts.max() / counts.sum() < self.cat_max_ratio)


@TRANSFORMS.register_module()
class FastPhotoMetricDistortion(PhotoMetricDistortion):
    """A faster `PhotoMetricDistortion` for uint8 images.

    It transforms the 256 possible values once and applies them as a lookup table. Images without three channels get
    another brightness and contrast, but no other saturation and hue.

    Raises:
        DataError: if the image is not uint8. `PhotoMetricDistortion` would cut it to 8 bits.
    """

    def transform(self, results: dict) -> dict:
        image = results['img']
        if image.dtype != np.uint8:
            raise DataError(
                f'FastPhotoMetricDistortion needs images of 8 bits, got {image.dtype}: take it out of the pipeline, '
                'and do not use PhotoMetricDistortion, which cuts the values to 0 to 255'
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
