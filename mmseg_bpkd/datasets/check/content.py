"""Checks the decoded images and labels: label values, classes, void and sizes."""

import inspect
import os.path as osp
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mmcv.image import rescale_size

from .decoding import Reading
from .findings import Findings, counted, examples, format_ranges
from .splits import Split, type_name

CROPS = ('RandomCrop', 'FastRandomCrop')
CONVERSION_HINT = 'see docs/data.md for the command that converts labels'
REDUCE_HINT = 'set reduce_zero_label=True in the dataset and its pipeline'


@dataclass
class Summary:
    """Totals of the decoded pairs of a split.

    Args:
        read: number of decoded pairs.
        pixels: pixels of each class, in the order of the classes.
        void: pixels of void.
        outside: {value in the file: pixels}, for values that are neither a class nor void.
        sizes: {(width, height): number of images}.
        broken_labels: number of labels that cannot be used.
    """

    read: int
    pixels: list[int]
    void: int
    outside: dict[int, int]
    sizes: dict[tuple[int, int], int]
    broken_labels: int

    def share(self, pixels: int) -> float:
        """Fraction of all pixels, 0 to 1."""
        return pixels / max(1, sum(self.pixels) + self.void + sum(self.outside.values()))


def loaded_value(value: int, reduce_zero_label: bool, label_map: dict | None) -> int:
    """The class to which `LoadAnnotations` maps a value of a label file.

    One difference: values above 255 stay as they are, where `LoadAnnotations` would wrap them to a byte.
    """
    if reduce_zero_label and 0 <= value <= 255:
        value = 255 if value in (0, 255) else value - 1
    return (label_map or {}).get(value, value)


def summarize(split: Split, readings: Sequence[Reading]) -> Summary:
    """Adds up the readings of a split."""
    raw: Counter[int] = Counter()
    for reading in readings:
        raw.update(reading.values)
    label_map, void, pixels = split.dataset.metainfo.get('label_map'), 0, [0] * len(split.classes)
    outside: dict[int, int] = {}
    for value, count in sorted(raw.items()):
        cls = loaded_value(value, split.reduce_zero_label, label_map)
        if cls == split.ignore_index:
            void += count
        elif 0 <= cls < len(pixels):
            pixels[cls] += count
        else:
            outside[value] = count
    sizes = Counter(reading.image_size for reading in readings if reading.image_size)
    broken = sum(bool(reading.label_fault) or reading.bands > 1 for reading in readings)
    return Summary(len(readings), pixels, void, outside, dict(sizes), broken)


def check_content(split: Split, readings: Sequence[Reading], findings: Findings) -> Summary:
    """Reports the problems of the decoded files of a split, and returns their totals."""
    summary = summarize(split, readings)
    for problem in (*_unusable_files(split, readings), *_other_sizes(split, readings)):
        findings.error(split.name, problem)
    for problem in _small_images(split, readings):
        findings.warning(split.name, problem)
    labeled = [reading for reading in readings if reading.values]
    if labeled:
        _check_values(split, summary, labeled, findings)
    return summary


def _unusable_files(split: Split, readings: Sequence[Reading]) -> list[str]:
    """Files that cannot be decoded, and labels in color."""
    unusable, again = 'cannot be used', 'copy or download again'
    colored = 'must have one channel of class indices, with or without a palette, got a color image'
    images = {reading.pair.image: f' ({reading.image_fault})' for reading in readings if reading.image_fault}
    labeled = [(reading.pair.label, reading) for reading in readings if reading.pair.label is not None]
    labels = {label: f' ({reading.label_fault})' for label, reading in labeled if reading.label_fault}
    in_color = {label: '' for label, reading in labeled if reading.bands > 1}
    problems = []
    for kind, folder, faults, problem, advice in (
        ('image', split.places.images, images, unusable, again),
        ('label', split.places.labels, labels, unusable, again),
        ('label', split.places.labels, in_color, colored, CONVERSION_HINT),
    ):
        if faults:
            shown = [f'{osp.relpath(path, folder)}{fault}' for path, fault in sorted(faults.items())]
            read = f'{counted(len(readings), kind)} read from {folder}'
            problems.append(f'{len(faults)} of {read} {problem}: {examples(shown)}; {advice}')
    return problems


def _other_sizes(split: Split, readings: Sequence[Reading]) -> list[str]:
    """Labels whose size is not that of the image."""
    wrong = [
        (reading.pair.label, reading.label_size, reading.image_size)
        for reading in readings
        if reading.pair.label and reading.label_size and reading.image_size not in (None, reading.label_size)
    ]
    if not wrong:
        return []
    shown = []
    for path, *sizes in sorted(wrong):
        label, image = ('{}x{}'.format(*size) for size in sizes)
        shown.append(f'{osp.relpath(path, split.places.labels)} {label}, image {image}')
    return [
        f'{len(shown)} of {counted(len(readings), "label")} read must have the size of the image: {examples(shown)}; '
        'use images and labels of the same release'
    ]


def _small_images(split: Split, readings: Sequence[Reading]) -> list[str]:
    """Images into which the crop does not fit, if they are more than 1 %: published datasets have a few."""
    crop = split.transform(*CROPS).get('crop_size')
    if not crop:
        return []
    height, width = crop if isinstance(crop, (list, tuple)) else (crop, crop)
    small = []
    for reading in readings:
        if reading.image_size:
            largest = largest_size(reading.image_size, split.pipeline)
            if largest[0] < width or largest[1] < height:
                small.append(reading.pair.image)
    if 100 * len(small) <= len(readings):
        return []
    return [
        f'the crop, {width}x{height} (width x height), does not fit into {len(small)} of '
        f'{counted(len(readings), "image")} read, even at the largest training scale: '
        f'{examples(small, split.places.images)}; the rest of the crop will be void'
    ]


def largest_size(size: tuple[int, int], pipeline: Sequence[dict]) -> tuple[int, int]:
    """The largest image size, (width, height), that the pipeline's random resizing can give before the crop."""
    for transform in pipeline:
        scale = transform.get('scale')
        if type_name(transform) in CROPS:
            break
        if type_name(transform) in ('Resize', 'RandomResize') and isinstance(scale, (list, tuple)):
            scale = max(scale) if isinstance(scale[0], (list, tuple)) else scale
            scale = tuple(int(extent * max(transform.get('ratio_range') or [1])) for extent in scale)
            size = rescale_size(size, scale) if transform.get('keep_ratio') else scale
    return size


def _check_values(split: Split, summary: Summary, labeled: Sequence[Reading], findings: Findings) -> None:
    """Reports labels with values outside the classes or with void only, else what is implausible about void."""
    count = len(split.dataset.metainfo.get('label_map') or split.classes)
    expected = f'1 to {count}, or 0' if split.reduce_zero_label else f'0 to {count - 1}, or {split.ignore_index}'
    expected += ' for void'
    read = f'{counted(len(labeled), "label")} read'
    if summary.outside:
        with_outside = (reading for reading in labeled if not summary.outside.keys().isdisjoint(reading.values))
        wrong = [reading.pair.label for reading in with_outside if reading.pair.label]
        findings.error(
            split.name,
            f'values outside the {len(split.classes)} classes in {len(wrong)} of {read} '
            f'({examples(wrong, split.places.labels)}): {format_ranges(sorted(summary.outside))}, expected {expected}; '
            f'{_likely_mistake(split, summary.outside)}',
        )
        return
    if not any(summary.pixels):
        values = format_ranges(sorted(set().union(*(reading.values for reading in labeled))))
        findings.error(split.name, f'only void in the {read}: {values}, expected {expected}; {CONVERSION_HINT}')
        return
    published = _zero_is_void_by_default(split)
    if published and not split.reduce_zero_label:
        findings.warning(
            split.name,
            f'reduce_zero_label is False, but {split.type} is published with 0 for void: with such labels every class '
            f'is shifted by one; {REDUCE_HINT}',
        )
    if split.reduce_zero_label and any(255 in reading.values for reading in labeled):
        findings.add(
            'error' if published else 'warning',  # such published labels have no 255
            split.name,
            'reduce_zero_label=True expects 0 for void, but the labels also contain 255: if they are already reduced, '
            'class 0 is lost and every other class is shifted by one; '
            + ('extract the labels again' if published else 'in that case set reduce_zero_label=False'),
        )
    void = summary.share(summary.void)
    if void > 0.5:
        findings.warning(
            split.name,
            f'{100 * void:.0f} % of the pixels of the {read} are void, expected at most 50 %: the files should contain '
            f'{expected}',
        )


def _likely_mistake(split: Split, outside: dict[int, int]) -> str:
    """A guess at the cause of values outside the classes, and what to do."""
    classes = len(split.classes)
    if classes == 19 and outside.keys() <= set(range(19, 34)):
        return f'these look like labelIds of Cityscapes, but training needs labelTrainIds: {CONVERSION_HINT}'
    if outside.keys() == {classes} and not split.reduce_zero_label:
        if _zero_is_void_by_default(split):
            return f'{split.type} is published with 0 for void: {REDUCE_HINT}'
        return f'if {classes} is void, convert it to 255; if 0 is void, {REDUCE_HINT}'
    return f'{CONVERSION_HINT}, or check the number of classes'


def _zero_is_void_by_default(split: Split) -> bool:
    # MMSegmentation's dataset classes have this default if 0 is void in the published labels.
    parameter = inspect.signature(type(split.dataset).__init__).parameters.get('reduce_zero_label')
    return parameter is not None and parameter.default is True


def check_absent_classes(splits: Sequence[Split], summaries: Sequence[Summary], findings: Findings) -> None:
    """Reports classes that occur in none of the splits of a loader.

    Reports nothing if any label is broken, because it may contain the missing classes.

    Args:
        summaries: one for each split.
    """
    if any(summary.outside or summary.broken_labels for summary in summaries):
        return
    loader, names = splits[0].loader, splits[0].classes
    read, available = sum(summary.read for summary in summaries), sum(len(split.pairs or ()) for split in splits)
    pixels = [sum(counts) for counts in zip(*(summary.pixels for summary in summaries))]
    present = [name for name, count in zip(names, pixels) if count]
    absent = [name for name, count in zip(names, pixels) if not count]
    if len(pixels) > 1 and len(present) == 1 < read:
        findings.error(
            loader,
            f'{present[0]} is the only class in all {read} labels read, expected several classes: the labels may be '
            f'binary masks; {CONVERSION_HINT}',
        )
    elif present and absent:
        advice = '' if read == available else '; use --all to read every label'
        findings.warning(
            loader,
            f'{len(absent)} of {len(pixels)} classes not found in the {read} labels read, of {available}: '
            f'{examples(absent)}; a network cannot learn them{advice}',
        )
