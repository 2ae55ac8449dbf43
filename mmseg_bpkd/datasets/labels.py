"""From the values of label files to classes. Loading, `bpkd check` and its pictures share this rule."""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import cv2
import numpy as np

Value = int | float | tuple[int, ...]  # of a pixel of a label file: a number, or a color (red, green, blue)


class DataError(ValueError):
    """Data that cannot be used. The message is one line: which file or data set, what is wrong, what to do."""


@dataclass(frozen=True)
class LabelRule:
    """Which class each value of a label file stands for.

    Args:
        num_classes: the classes are 0 to num_classes - 1.
        ignore_index: the label of void.
        label_map: from `parse_label_map`. It is applied first. Values that it does not have stay as they are.
        reduce_zero_label: whether 0 becomes 255 and other values are reduced by 1, as in `LoadAnnotations`.
        custom_classes: {class: class or 255}, of a data set that uses some of the classes of its type. Applied last.
    """

    num_classes: int
    ignore_index: int = 255
    label_map: Mapping[Value, int] | None = None
    reduce_zero_label: bool = False
    custom_classes: Mapping[int, int] | None = None

    @property
    def needs_colors(self) -> bool:
        """Whether the labels must be color images."""
        return any(isinstance(value, tuple) for value in self.label_map or ())

    @property
    def expected(self) -> str:
        """The valid values, for messages: '0 to 10, or 255 for void'."""
        if self.needs_colors:
            return f'the {len(self.label_map or ())} colors of label_map'
        count = len(self.custom_classes or ()) or self.num_classes
        candidates: list[Value] = sorted({*range(256), *(self.label_map or ())})
        classes = [value for value in candidates if 0 <= self._before_custom_classes(value) < count]
        void = [value for value in candidates if self._before_custom_classes(value) == self.ignore_index]
        return format_values(classes) + (f', or {void[0]} for void' if void else '')

    def class_of(self, value: Value) -> int | None:
        """The class or `ignore_index`; None if the value stands for neither."""
        label = self._before_custom_classes(value)
        label = (self.custom_classes or {}).get(label, label)
        return label if 0 <= label < min(self.num_classes, 256) or label == self.ignore_index >= 0 else None

    def _before_custom_classes(self, value: Value) -> int:
        label = (self.label_map or {}).get(value, value)
        if not isinstance(label, int):  # a color that the map does not have, or a fraction
            return -1
        if self.reduce_zero_label and 0 <= label <= 255:
            return 255 if label in (0, 255) else label - 1
        return label

    def classes(self, label: np.ndarray) -> tuple[np.ndarray, list[Value]]:
        """Maps a label to classes.

        Args:
            label: (H, W) numbers of any type, or (H, W, 3) RGB.

        Returns:
            (H, W) integers, -1 where the value is invalid, and the invalid values.
        """
        in_color = label.ndim == 3
        numbers = _pack(label) if in_color else label
        present = np.flatnonzero(histogram(numbers)) if numbers.dtype == np.uint8 else np.unique(numbers)
        values = _unpack(present) if in_color else _as_numbers(present)
        classes = [self.class_of(value) for value in values]
        wrong = [value for value, cls in zip(values, classes) if cls is None]
        if classes == values:
            return numbers, wrong
        found = np.array([-1 if cls is None else cls for cls in classes])
        if wrong:
            return found[np.searchsorted(present, numbers)], wrong
        table = np.zeros(int(present[-1]) + 1, np.uint8)  # faster than a search
        table[present.astype(int)] = found
        return table.take(numbers.astype(int, copy=False)), wrong


def count_values(label: np.ndarray) -> dict[Value, int]:
    """Counts the pixels of each value: (H, W) numbers or (H, W, 3) RGB to {value: number of pixels}."""
    if label.dtype == np.uint8 and label.ndim == 2:
        counts = histogram(label)
        return {int(value): int(counts[value]) for value in counts.nonzero()[0]}
    values, counts = np.unique(_pack(label) if label.ndim == 3 else label, return_counts=True)
    return dict(zip(_unpack(values) if label.ndim == 3 else _as_numbers(values), counts.tolist()))


def histogram(label: np.ndarray) -> np.ndarray:
    """Number of pixels with each value of a uint8 label: (H, W) to (256,) int."""
    return cv2.calcHist([label.reshape(-1)], [0], None, [256], [0, 256]).ravel().astype(int)


def _pack(label: np.ndarray) -> np.ndarray:
    """(H, W, 3) RGB to (H, W), one integer per color."""
    red, green, blue = (label[..., i].astype(np.int32) for i in range(3))
    return red << 16 | green << 8 | blue


def _unpack(colors: np.ndarray) -> list[Value]:
    return [(color >> 16, color >> 8 & 255, color & 255) for color in colors.tolist()]


def _as_numbers(values: np.ndarray) -> list[Value]:
    return [int(value) if float(value).is_integer() else value for value in values.tolist()]


def parse_label_map(label_map: Mapping | Sequence | None) -> dict[Value, int] | None:
    """Returns the `label_map` of a config as {value or (red, green, blue): class}.

    Args:
        label_map: {value: class}, {color: class}, or a palette: a list of colors, one for each class. Keys may be
            texts, as from the command line.

    Raises:
        ValueError: if it is none of these.
    """
    if label_map is None:
        return None
    try:
        pairs = label_map.items() if isinstance(label_map, Mapping) else zip(map(tuple, label_map), range(256))
        parsed = {ast.literal_eval(value) if isinstance(value, str) else value: cls for value, cls in pairs}
        kinds = {3 if isinstance(value, tuple) and len(value) == 3 else type(value) for value in parsed}
        fits = kinds in ({int}, {3}) and all(isinstance(cls, int) and 0 <= cls <= 255 for cls in parsed.values())
    except (SyntaxError, TypeError, ValueError):
        fits = False
    if not fits:
        raise ValueError(
            f'label_map is {label_map!r}, expected {{value: class}}, such as {{0: 0, 255: 1}}, or '
            '{(red, green, blue): class}, or a list with the color of each class; classes are 0 to 255'
        )
    return parsed


def format_values(values: Sequence[Value]) -> str:
    """Sorted values, integers as ranges: '3, 19 to 33'."""
    numbers = [value for value in values if isinstance(value, int)]
    if len(numbers) < len(values):
        return ', '.join(map(str, values[:3])) + (f' and {len(values) - 3} more' if len(values) > 3 else '')
    runs = [[value for _, value in run] for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    return ', '.join(f'{run[0]}' if len(run) == 1 else f'{run[0]} to {run[-1]}' for run in runs)
