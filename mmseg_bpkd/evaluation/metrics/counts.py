"""Files with the pixel counts of each image. From them, a metric can be computed again for any selection of images."""

import io

import numpy as np

from mmseg_bpkd.fileio.writing import write_bytes


def save_counts(path: str, images: list[str], counts: dict[str, np.ndarray]) -> None:
    """Writes the `per_image` counts of metrics to a compressed .npz file. The file is complete or absent.

    Args:
        path: the file.
        images: the names of the images.
        counts: {name: (images, 3, classes)}, see `SegIoU`.
    """
    content = io.BytesIO()
    np.savez_compressed(content, images=np.array(images), **counts)
    write_bytes(path, content.getbuffer())


def load_counts(path: str) -> dict[str, np.ndarray]:
    """Reads a file of `save_counts`. The names of the images are under the key `images`."""
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}
