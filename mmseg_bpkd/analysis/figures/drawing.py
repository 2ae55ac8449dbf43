"""What the figures with pictures share."""

from collections.abc import Sequence

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from mmseg_bpkd.datasets.images import to_bgr

WIDTH = 2.4  # inches, of a picture


def size_of(image: np.ndarray, rows: int, columns: int, captions: float = 0.0) -> tuple[float, float]:
    """Returns the width and height of a grid of pictures, in inches.

    Args:
        image: one of the pictures, (H, W, 3).
        captions: inches for a caption below each picture.
    """
    height, width = image.shape[:2]
    return WIDTH * columns, rows * (WIDTH * height / width + captions) + 0.3


def picture_axes(figure: Figure, rows: int, titles: Sequence[str]) -> np.ndarray:
    """Returns a grid of axes without ticks, (rows, columns), with titles above the first row."""
    axes = figure.subplots(rows, len(titles), squeeze=False)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        for line in axis.spines.values():
            line.set_visible(False)
    for axis, title in zip(axes[0], titles):
        axis.set_title(title, fontsize=10)
    return axes


def show(axis: Axes, picture: np.ndarray, **options) -> AxesImage:
    """Draws a picture, (H, W, 3) RGB or (H, W) numbers, without smoothing."""
    return axis.imshow(picture, interpolation='nearest', **options)


def to_rgb(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(to_bgr(image), cv2.COLOR_BGR2RGB)
