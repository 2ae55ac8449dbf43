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
    np.savez_compressed(content, images=np.array(images), **counts)  # type: ignore[arg-type]  # no metric is allow_pickle
    write_bytes(path, content.getbuffer())


def load_counts(path: str) -> dict[str, np.ndarray]:
    """Reads a file of `save_counts`. The names of the images are under the key `images`.

    Raises:
        ValueError: if it is damaged, or another file.
    """
    try:
        with np.load(path) as arrays:
            counts = {name: arrays[name] for name in arrays.files}
        images = len(counts['images'])
        wrong = [name for name, of_name in counts.items() if name != 'images' and of_name.shape[:2] != (images, 3)]
    except Exception as error:  # a damaged file can raise anything
        raise ValueError(f'{path} is damaged, or no file of pixel counts ({error}): remove it') from error
    if wrong:
        raise ValueError(f'{path} is damaged: {", ".join(wrong)} does not have 3 counts for each of {images} images')
    return counts
