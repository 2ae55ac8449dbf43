"""Predictions of several networks with their errors (Figures 7 to 9 of the BPKD paper)."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from mmseg_bpkd.deploy.predict import AT_BOUNDARY, ELSEWHERE, mark
from mmseg_bpkd.ops.boundary import boundary_band

from .drawing import picture_axes, show, size_of, to_rgb
from .networks import VOID, Network, TestImages

DEFINITION = (
    'Percent of wrong pixels: near, of the labeled pixels within half_width of a boundary of the label, as in '
    'TrimapIoU; far, of the other labeled pixels; null if there is no such pixel'
)


def band(label: np.ndarray, half_width: int) -> np.ndarray:
    """Returns the pixels within `half_width` pixels of a boundary of the label, (H, W) bool."""
    return boundary_band(torch.from_numpy(label)[None], half_width)[0].numpy()


def errors(pred: np.ndarray, label: np.ndarray, near: np.ndarray) -> tuple[np.ndarray, dict[str, float | None]]:
    """Returns the wrong pixels, (H, W) bool, and the percent of wrong pixels near boundaries and elsewhere.

    Args:
        pred, label: the classes, (H, W).
        near: the pixels near boundaries, (H, W) bool.
    """
    labeled = label != VOID
    wrong = labeled & (pred != label)
    areas = dict(near=near, far=labeled & ~near)
    return wrong, {name: 100 * float(wrong[area].mean()) if area.any() else None for name, area in areas.items()}


def grid_figure(
    networks: Sequence[Network], images: TestImages, indices: Sequence[int], half_width: int = 3
) -> tuple[Figure, dict]:
    """Two rows per image: image, label and predictions, and below the errors of each prediction.

    Args:
        indices: of the images.
        half_width: half the width of the band around boundaries of the label, in pixels.

    Returns:
        The figure, and its numbers: the percent of wrong pixels near boundaries and elsewhere.
    """
    palette = np.array(networks[0].predictor.meta['palette'], np.uint8)
    width, height = size_of(images[indices[0]][0], 2 * len(indices), 2 + len(networks), captions=0.1)
    figure = Figure(figsize=(width, height + 0.5), layout='constrained')
    titles = ['image', 'label', *(network.name for network in networks)]
    axes = picture_axes(figure, 2 * len(indices), titles)
    numbers: dict[str, dict] = {}
    present: set = set()
    for above, below, index in zip(axes[::2], axes[1::2], indices):
        image, label = images[index]
        void, near = label == VOID, band(label, half_width)
        show(above[0], to_rgb(image))
        above[0].set_xlabel(images.name(index), fontsize=8)
        show(above[1], np.where(void[..., None], np.uint8(0), palette[np.where(void, 0, label)]))
        show(below[1], to_rgb(mark(image, near, near)))
        below[1].set_xlabel(f'within {half_width} px of a boundary', fontsize=8)
        present |= set(np.unique(label[~void]).tolist())
        image_errors = numbers[images.name(index)] = {}
        for column, network in enumerate(networks, 2):
            pred = network.predictor(image)
            wrong, image_errors[network.name] = errors(pred, label, near)
            show(above[column], palette[pred])
            show(below[column], to_rgb(mark(image, wrong, near)))
            below[column].set_xlabel(_caption(image_errors[network.name]), fontsize=8)
            present |= set(np.unique(pred).tolist())
    names = networks[0].classes
    patches = [Patch(facecolor=palette[cls] / 255, edgecolor='gray', label=names[cls]) for cls in sorted(present)]
    patches += [Patch(facecolor='black', label='void')]
    figure.legend(handles=patches, loc='outside lower center', ncols=12, fontsize=9, frameon=False)
    marks = {f'error within {half_width} px\nof a boundary': AT_BOUNDARY, 'error elsewhere': ELSEWHERE}
    patches = [Patch(facecolor=(r / 255, g / 255, b / 255), label=text) for text, (b, g, r) in marks.items()]
    axes[1][0].legend(handles=patches, loc='center', fontsize=10, frameon=False)
    definition = dict(definition=DEFINITION, half_width_px=half_width)
    return figure, dict(figure='grid', **definition, images=numbers)


def _caption(percent: dict[str, float | None]) -> str:
    texts = {name: 'none' if value is None else f'{value:.1f} %' for name, value in percent.items()}
    return f'wrong: {texts["near"]} near, {texts["far"]} elsewhere'
