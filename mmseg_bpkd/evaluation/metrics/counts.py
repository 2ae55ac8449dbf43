"""Files with the pixel counts of each image. From them, a metric can be computed again for any selection of images."""

import os

import numpy as np


def save_counts(path: str, images: list[str], counts: dict[str, np.ndarray]) -> None:
    """Writes the `per_image` counts of metrics to a compressed .npz file. The file is complete or absent.

    Args:
        path: the file.
        images: the names of the images.
        counts: {name: (images, 3, classes)}, see `SegIoU`.
    """
    with open(f'{path}.part', 'wb') as file:
        np.savez_compressed(file, images=np.array(images), **counts)  # type: ignore[arg-type]  # no metric is named allow_pickle
    os.replace(f'{path}.part', path)


def load_counts(path: str) -> dict[str, np.ndarray]:
    """Reads a file of `save_counts`. The names of the images are under the key `images`."""
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}
