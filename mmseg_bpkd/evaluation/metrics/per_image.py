"""Pixel counts of each image. From them, a metric can be computed again for any selection of images."""

import os
from typing import Dict, List, Sequence

import numpy as np
import torch
from mmseg.evaluation import IoUMetric
from torch import Tensor


def keep_per_image(metric: IoUMetric) -> Dict[str, np.ndarray]:
    """Makes `metric` store the pixel counts of each image when it is evaluated.

    Returns:
        A dict that is empty until `metric` is evaluated. Then it maps the name of each mean IoU, such as
        `trimap/mIoU@3px`, to counts of pixels, (images, 3, classes): intersection, prediction and label. The order of
        the images is that of the dataset.
    """
    kept, names = {}, []
    compute_metrics, total_area_to_metrics = metric.compute_metrics, metric.total_area_to_metrics

    def note_name(*args, **kwargs):  # called once for each band, which is set before
        prefix, band = (f'{metric.prefix}/' if metric.prefix else ''), getattr(metric, 'band', '')
        names.append(f'{prefix}mIoU{band}')
        return total_area_to_metrics(*args, **kwargs)

    def keep(results: list) -> dict:
        names.clear()
        metrics = compute_metrics(results)
        bands = [results] if isinstance(results[0][0], Tensor) else zip(*results)
        kept.update({name: _stack(areas_of_images) for name, areas_of_images in zip(names, bands)})
        return metrics

    metric.total_area_to_metrics, metric.compute_metrics = note_name, keep
    return kept


def _stack(areas_of_images: Sequence) -> np.ndarray:
    """Areas in the form of `IoUMetric` to (images, 3, classes). The union is left out, because it follows."""
    counts = [torch.stack([areas[0], areas[2], areas[3]]) for areas in areas_of_images]
    return torch.stack(counts).round().to(torch.int32).numpy()


def save_counts(path: str, images: List[str], counts: Dict[str, np.ndarray]) -> None:
    """Writes counts of `keep_per_image` to a compressed .npz file. The file is complete or absent.

    Args:
        path: the file.
        images: the names of the images.
        counts: {name: (images, 3, classes)}.
    """
    with open(f'{path}.part', 'wb') as file:
        np.savez_compressed(file, images=np.array(images), **counts)
    os.replace(f'{path}.part', path)


def load_counts(path: str) -> Dict[str, np.ndarray]:
    """Reads a file of `save_counts`. The names of the images are under the key `images`."""
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}
