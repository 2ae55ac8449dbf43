"""Samples with their labels and their class-wise edge masks drawn over them."""

import math
import os.path as osp
import random
from dataclasses import dataclass
from typing import Dict, List, Set, Tuple

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image, ImageOps

from ..boundary import edge_masks
from .check import Result
from .content import loaded_value
from .reading import Reading
from .splits import Split

COLUMN, TITLE, LEGEND_ROW, LEGEND_COLUMNS, DPI = 480, 24, 20, 8, 100  # pixels: of a picture, a title, a line
VOID, OUTSIDE = (0, 0, 0), (255, 0, 255)
KERNEL = 7  # the edge width that is distilled
Sample = Tuple[Split, Reading]


@dataclass
class Row:
    pictures: List[Image.Image]
    titles: List[str]
    legend: Dict[str, Tuple[int, int, int]]


def draw_samples(result: Result, count: int, path: str) -> None:
    """Writes a row for each of `count` samples: image, label over it, edge masks over it; below, the classes' colours.

    A picture has a column of 480 pixels. Without a sample, nothing is written.
    """
    rows = [_draw(*sample) for sample in choose(result, count)]
    if not rows:
        return
    legend = {name: colour for row in rows for name, colour in row.legend.items()}
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
    patches = [Patch(color=np.array(colour) / 255, label=name) for name, colour in legend.items()]
    figure.legend(handles=patches, loc='lower center', ncol=LEGEND_COLUMNS, fontsize=8, frameon=False)
    figure.savefig(path)


def choose(result: Result, count: int) -> List[Sample]:
    """Samples of the splits in turn that show many classes, among those whose files are sound."""
    pools = []
    for split in result.splits:
        sound = [
            reading
            for reading in result.readings[split.name]
            if reading.values and reading.image_size == reading.label_size
        ]
        sound.sort(key=lambda reading: reading.pair.image)
        random.Random(0).shuffle(sound)  # neighbours are often frames of one film
        pools.append([(split, reading, set(reading.values)) for reading in sound])
    pools = [pool for pool in pools if pool]
    chosen: List[Sample] = []
    seen: Set[int] = set()
    while len(chosen) < count and any(pools):
        pool = pools[len(chosen) % len(pools)] or max(pools, key=len)
        best = max(pool, key=lambda sample: len(sample[2] - seen))
        pool.remove(best)
        chosen.append(best[:2])
        seen = seen | best[2] if best[2] - seen else best[2]  # when all were shown, once more from the beginning
    return chosen


def _draw(split: Split, reading: Reading) -> Row:
    width, height = reading.image_size
    zoom = COLUMN / max(width, height)
    size = (max(1, round(width * zoom)), max(1, round(height * zoom)))
    with Image.open(reading.pair.image) as file:
        image = ImageOps.exif_transpose(file).convert('RGB').resize(size)
    with Image.open(reading.pair.label) as file:
        label = _classes(split, np.asarray(file))
    colours = np.array([*split.palette, VOID, OUTSIDE], np.uint8)
    painted = Image.fromarray(colours[label]).resize(size, Image.Resampling.NEAREST)
    edges = edges_of(label, len(split.classes), max(1, int(1 / zoom)))
    edges = Image.fromarray((255 * edges).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    dimmed = Image.blend(image, Image.new('RGB', size), 0.5)
    names = [*split.classes, '(void)', '(outside of the classes)']
    return Row(
        pictures=[image, Image.blend(image, painted, 0.6), Image.composite(painted, dimmed, edges)],
        titles=[
            f'{split.name}: {osp.basename(reading.pair.image)}',
            f'label, {width}x{height}',
            f'edges between classes, {KERNEL} px wide',
        ],
        legend={names[i]: colours[i] for i in np.unique(label)},
    )


def _classes(split: Split, values: np.ndarray) -> np.ndarray:
    """Values of a label file as classes 0 to C - 1, C for void, C + 1 for what is neither."""
    count, label_map = len(split.classes), split.dataset.metainfo.get('label_map')
    classes = np.upcast(values.shape, count + 1)
    for value in np.unique(values):
        cls = loaded_value(int(value), split.reduce_zero_label, label_map)
        if cls == split.ignore_index or 0 <= cls < count:
            classes[values == value] = count if cls == split.ignore_index else cls
    return classes


def edges_of(label: np.ndarray, num_classes: int, stride: int) -> np.ndarray:
    """Where a cell of `stride` pixels is edge of some class: the highest of its class-wise masks, (h, w) in [0, 1].

    Args:
        label: (H, W), 0 to num_classes - 1; what is above is void.
    """
    present, compact = np.unique(np.minimum(label, num_classes), return_inverse=True)
    void = int((present < num_classes).sum())  # the last, if it occurs
    gt = torch.from_numpy(compact.reshape(1, *label.shape))
    size = (max(1, label.shape[0] // stride), max(1, label.shape[1] // stride))
    masks = edge_masks(gt, max(1, void), size, kernel_size=KERNEL, ignore_index=void)
    return masks[0].amax(0).numpy()
