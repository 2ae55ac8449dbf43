"""Draws samples with their labels and their class-wise edge masks."""

import itertools
import math
import os.path as osp
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image, ImageOps

from mmseg_bpkd.datasets.labels import Value
from mmseg_bpkd.fileio.writing import save_figure
from mmseg_bpkd.ops.boundary import edge_masks

from .all_checks import Result
from .content import fits
from .decoding import Reading
from .splits import Split

COLUMN, TITLE, LEGEND_ROW = 480, 24, 20  # pixels: longer side of a picture, height of a title and of a legend line
LEGEND_COLUMNS, DPI = 8, 100
SPARE = np.array(list(itertools.product((0, 128, 255), repeat=3)))  # RGB; void and invalid values get two of these
KERNEL = 7  # default kernel_size of BPKDLoss, in pixels
Sample = tuple[Split, Reading]


@dataclass
class Row:
    """One sample: three pictures side by side, their titles, and the classes in them with their colors."""

    pictures: list[Image.Image]
    titles: list[str]
    legend: dict[str, tuple[float, float, float]]


def draw_samples(result: Result, count: int, path: str) -> None:
    """Writes a picture with one row per sample: the image, the label over it, and the edge masks over it.

    A legend at the bottom shows the colors of the classes. Nothing is written if no sample can be drawn.
    """
    rows = [_draw_row(*sample) for sample in choose_samples(result, count)]
    if not rows:
        return
    legend = {name: color for row in rows for name, color in row.legend.items()}
    heights = [row.pictures[0].height + TITLE for row in rows]
    height = sum(heights) + TITLE + LEGEND_ROW * math.ceil(len(legend) / LEGEND_COLUMNS)
    figure = Figure(figsize=(3 * COLUMN / DPI, height / DPI), dpi=DPI)
    for i, row in enumerate(rows):
        bottom = height - sum(heights[: i + 1])
        for j, (picture, title) in enumerate(zip(row.pictures, row.titles)):
            axis = figure.add_axes((j / 3, bottom / height, 1 / 3, picture.height / height))
            axis.imshow(picture, interpolation='nearest')
            axis.set_title(title, fontsize=8, pad=3)
            axis.axis('off')
    patches = [Patch(color=color, label=name) for name, color in legend.items()]
    figure.legend(handles=patches, loc='lower center', ncol=LEGEND_COLUMNS, fontsize=8, frameon=False)
    save_figure(figure, path)


def choose_samples(result: Result, count: int) -> list[Sample]:
    """Chooses up to `count` samples with usable files that together show many classes. The splits take turns."""
    pools = []
    for split in result.splits:
        usable = [r for r in result.readings[split.name] if r.values and r.image_size == r.label_size]
        usable = sorted((r for r in usable if fits(split.rule, r)), key=lambda reading: reading.pair.image)
        random.Random(0).shuffle(usable)  # neighbors are often frames of the same video
        pools.append([(split, reading, set(reading.values)) for reading in usable])
    pools = [pool for pool in pools if pool]
    chosen: list[Sample] = []
    seen: set[Value] = set()
    while len(chosen) < count and any(pools):
        pool = pools[len(chosen) % len(pools)] or max(pools, key=len)
        best = max(pool, key=lambda sample: len(sample[2] - seen))
        pool.remove(best)
        chosen.append(best[:2])
        seen = seen | best[2] if best[2] - seen else best[2]  # start again once all classes are shown
    return chosen


def _draw_row(split: Split, reading: Reading) -> Row:
    with Image.open(reading.pair.image) as file:
        image = ImageOps.exif_transpose(file).convert('RGB')
    (width, height), zoom = image.size, COLUMN / max(image.size)
    size = (max(1, round(width * zoom)), max(1, round(height * zoom)))
    image = image.resize(size)
    with Image.open(reading.pair.label) as file:
        label = _map_to_classes(split, np.asarray(file))
    colors = with_spare_colors(split.palette)
    painted = Image.fromarray(colors[label]).resize(size, Image.Resampling.NEAREST)
    edges = (255 * edge_map(label, len(split.classes), max(1, int(1 / zoom)))).astype(np.uint8)
    mask = Image.fromarray(edges).resize(size, Image.Resampling.BILINEAR)
    dimmed = Image.blend(image, Image.new('RGB', size), 0.5)
    names = [*split.classes, '(void)', '(outside the classes)']
    return Row(
        pictures=[image, Image.blend(image, painted, 0.6), Image.composite(painted, dimmed, mask)],
        titles=[
            f'{split.name}: {osp.basename(reading.pair.image)}',
            f'label, {width}x{height}',
            f'class boundaries, {KERNEL} px wide',
        ],
        legend={names[i]: tuple((colors[i] / 255).tolist()) for i in np.unique(label)},
    )


def _map_to_classes(split: Split, values: np.ndarray) -> np.ndarray:
    """Maps the values of a label file to the classes 0 to C - 1, to C for void, and to C + 1 for other values."""
    rule = split.rule
    found = rule.classes(values[..., :3] if rule.needs_colors else values)[0].astype(int)
    return np.where(found < 0, rule.num_classes + 1, np.where(found == rule.ignore_index, rule.num_classes, found))


def with_spare_colors(palette: Sequence[Sequence[int]]) -> np.ndarray:
    """A palette and two more colors, for void and for invalid values: (C, 3) to (C + 2, 3) uint8.

    Each is the color that differs most from those before it.
    """
    colors = np.array(palette, int).reshape(-1, 3)
    for _ in range(2):
        distances = np.abs(SPARE[:, None] - colors).sum(2).min(1, initial=765)
        colors = np.concatenate([colors, SPARE[distances.argmax()][None]])
    return colors.astype(np.uint8)


def edge_map(label: np.ndarray, num_classes: int, stride: int) -> np.ndarray:
    """The maximum of BPKD's soft edge masks over all classes.

    Args:
        label: (H, W). Values of `num_classes` and above are void.
        stride: size in pixels of the cells over which the masks are averaged.

    Returns:
        (H // stride, W // stride), at least 1x1, in [0, 1].
    """
    # To save memory, only the classes that occur get a mask. They are renumbered 0 to K - 1; void becomes K.
    present, compact = np.unique(np.minimum(label, num_classes), return_inverse=True)
    void = int((present < num_classes).sum())
    gt = torch.from_numpy(compact.reshape(1, *label.shape))
    size = (max(1, label.shape[0] // stride), max(1, label.shape[1] // stride))
    masks = edge_masks(gt, max(1, void), size, kernel_size=KERNEL, ignore_index=void)
    return masks[0].amax(0).numpy()
