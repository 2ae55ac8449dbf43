"""Checks the decoded images and labels: label values, classes, void and sizes."""

import inspect
import os.path as osp
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
from mmcv.image import rescale_size

from mmseg_bpkd.datasets.labels import LabelRule, Value, format_values

from .decoding import Reading
from .findings import Findings, counted, examples
from .splits import Split, type_name

CROPS = ('RandomCrop', 'FastRandomCrop')
CONVERTED = 'see docs/data.md for the command that converts labels'
OTHER_VALUES = 'see "Labels with other values" in docs/adding_a_dataset.md'
FEW_VALUES = 64  # of a channel; fewer leave too little of an image
WHOLE_DEPTH = "dict(type='LoadImageFromFile', color_type=3, to_float32=True)"
REDUCE_HINT = 'set reduce_zero_label=True in the dataset and its pipeline'


@dataclass
class Summary:
    """Totals of the decoded pairs of a split.

    Args:
        read: number of decoded pairs.
        pixels: pixels of each class, in the order of the classes.
        void: pixels of void.
        outside: {value in the file: pixels}, for values that are neither a class nor void.
        values: all values in the files.
        sizes: {(width, height): number of images}.
        broken_labels: number of labels that cannot be used.
    """

    read: int
    pixels: list[int]
    void: int
    outside: dict[Value, int]
    values: set[Value]
    sizes: dict[tuple[int, int], int]
    broken_labels: int

    def share(self, pixels: int) -> float:
        """Fraction of all pixels, 0 to 1."""
        return pixels / max(1, sum(self.pixels) + self.void + sum(self.outside.values()))


def fits(rule: LabelRule, reading: Reading) -> bool:
    """Whether a label has the channels that the pipeline expects: one, or those of a color image."""
    return reading.bands in ((3, 4) if rule.needs_colors else (1,))


def summarize(split: Split, readings: Sequence[Reading]) -> Summary:
    """Adds up the readings of a split."""
    rule, total = split.rule, Counter[Value]()
    for reading in readings:
        if fits(rule, reading):
            total.update(reading.values)
    void, pixels, outside = 0, [0] * rule.num_classes, {}
    for value, count in total.items():
        cls = rule.class_of(value)
        if cls is None:
            outside[value] = count
        elif cls == rule.ignore_index:
            void += count
        else:
            pixels[cls] += count
    sizes = Counter(reading.image_size for reading in readings if reading.image_size)
    broken = sum(bool(reading.label_fault) or not fits(rule, reading) for reading in readings)
    return Summary(len(readings), pixels, void, outside, set(total), dict(sizes), broken)


def check_content(split: Split, readings: Sequence[Reading], findings: Findings) -> Summary:
    """Reports the problems of the decoded files of a split, and returns their totals."""
    summary = summarize(split, readings)
    for problem in (*_unusable_files(split, readings), *_other_sizes(split, readings)):
        findings.error(split.name, problem)
    for problem in _small_images(split, readings):
        findings.warning(split.name, problem)
    _check_depth(split, readings, findings)
    labeled = [reading for reading in readings if reading.values and fits(split.rule, reading)]
    if labeled:
        _check_values(split, summary, labeled, findings)
    return summary


def _unusable_files(split: Split, readings: Sequence[Reading]) -> list[str]:
    """Files that cannot be decoded, and labels with other channels than the pipeline expects."""
    unusable, again = 'cannot be used', 'copy or download again'
    colored = 'must have one channel of class indices, with or without a palette, got a color image'
    if split.rule.needs_colors:
        colored = 'must be color images, because label_map has colors'
    images = {reading.pair.image: f' ({reading.image_fault})' for reading in readings if reading.image_fault}
    labels = {reading.pair.label: f' ({reading.label_fault})' for reading in readings if reading.label_fault}
    others = [reading for reading in readings if not fits(split.rule, reading)]
    in_color = {reading.pair.label: '' for reading in others if reading.label_size}
    advice_on_colors = _advice(split, set().union(*(reading.values for reading in others)))
    problems = []
    for kind, folder, faults, problem, advice in (
        ('image', split.places.images, images, unusable, again),
        ('label', split.places.labels, labels, unusable, again),
        ('label', split.places.labels, in_color, colored, advice_on_colors),
    ):
        if faults:
            shown = [f'{osp.relpath(path, folder)}{fault}' for path, fault in sorted(faults.items())]
            read = f'{counted(len(readings), kind)} read from {folder}'
            problems.append(f'{len(faults)} of {read} {problem}: {examples(shown)}; {advice}')
    return problems


def _other_sizes(split: Split, readings: Sequence[Reading]) -> list[str]:
    """Labels whose size is not that of the image."""
    wrong = [reading for reading in readings if reading.image_size and reading.label_size]
    wrong = [reading for reading in wrong if reading.image_size != reading.label_size]
    if not wrong:
        return []
    shown = []
    for reading in sorted(wrong, key=lambda reading: reading.pair.label):
        label, image = ('{}x{}'.format(*size) for size in (reading.label_size, reading.image_size))
        shown.append(f'{osp.relpath(reading.pair.label, split.places.labels)} {label}, image {image}')
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


def _check_depth(split: Split, readings: Sequence[Reading], findings: Findings) -> None:
    """Reports images of more than 8 bits per channel that the pipeline loads as 8 bits."""
    load = split.transform('LoadImageFromFile')
    flag = load.get('color_type', 'color')
    deep = {reading.pair.image: reading.depth for reading in readings if reading.depth}
    if not deep or not load or flag == 'unchanged' or (isinstance(flag, int) and flag & cv2.IMREAD_ANYDEPTH):
        return
    bits, left = (max(numbers) for numbers in zip(*deep.values()))
    findings.add(
        'error' if left < FEW_VALUES else 'warning',
        split.name,
        f'{len(deep)} of {counted(len(readings), "image")} read have more than 8 bits per channel ({bits} are used), '
        f'but are loaded as 8 bits, which leaves at most {left} values: {examples(list(deep), split.places.images)}; '
        f'load them with {WHOLE_DEPTH}, give mean and std in their units, and take out PhotoMetricDistortion',
    )


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
    expected = split.rule.expected
    read = f'{counted(len(labeled), "label")} read'
    if summary.outside:
        wrong = [reading.pair.label for reading in labeled if not summary.outside.keys().isdisjoint(reading.values)]
        findings.error(
            split.name,
            f'values outside the {len(split.classes)} classes in {len(wrong)} of {read} '
            f'({examples(wrong, split.places.labels)}): {format_values(sorted(summary.outside))}, expected {expected}; '
            f'{_likely_mistake(split, summary)}',
        )
        return
    if not any(summary.pixels):
        values = format_values(sorted(summary.values))
        findings.error(
            split.name, f'only void in the {read}: {values}, expected {expected}; {_advice(split, summary.values)}'
        )
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


def _likely_mistake(split: Split, summary: Summary) -> str:
    """A guess at the cause of values outside the classes, and what to do."""
    outside, classes = summary.outside.keys(), len(split.classes)
    if classes == 19 and outside <= set(range(19, 34)):
        return f'these look like labelIds of Cityscapes, but training needs labelTrainIds: {CONVERTED}'
    if outside == {classes} and not split.reduce_zero_label:
        if _zero_is_void_by_default(split):
            return f'{split.type} is published with 0 for void: {REDUCE_HINT}'
        void = {classes: split.ignore_index}
        return f'if {classes} is void, load the labels with {_line(split, void)}; if 0 is void, {REDUCE_HINT}'
    return f'{_advice(split, summary.values)}, or check the number of classes'


def _advice(split: Split, values: set[Value]) -> str:
    """What to do about labels with these values: the line that maps them to the classes, if this can be guessed."""
    label_map = _likely_map(split, values)
    if label_map:
        return f'if these are the classes in this order, load the labels with {_line(split, label_map)}'
    return CONVERTED if type(split.dataset).METAINFO.get('classes') else OTHER_VALUES


def _line(split: Split, label_map: dict | list) -> str:
    void = '' if split.ignore_index == 255 else f'ignore_index={split.ignore_index}, '
    return f"dict(type='LoadCheckedAnnotations', num_classes={len(split.classes)}, {void}label_map={label_map})"


def _likely_map(split: Split, values: set[Value]) -> dict[Value, int] | None:
    """The classes that these values stand for, if there is one value or one color of the palette for each class."""
    palette = {tuple(color): cls for cls, color in enumerate(split.dataset.metainfo.get('palette') or [])}
    others, void = values - palette.keys(), split.ignore_index
    if split.reduce_zero_label or split.label_transform.get('label_map'):
        return None
    if len(values) > 1 >= len(others) and any(isinstance(value, tuple) for value in values):
        return {**palette, **dict.fromkeys(others, void)}
    for candidates in (values, values - {void}):
        if len(candidates) == len(split.classes):
            return {value: cls for cls, value in enumerate(sorted(candidates))}
    return None


def _zero_is_void_by_default(split: Split) -> bool:
    # MMSegmentation's dataset classes have this default if 0 is void in the published labels.
    parameter = inspect.signature(type(split.dataset).__init__).parameters.get('reduce_zero_label')
    return parameter is not None and parameter.default is True


def check_absent_classes(
    splits: Sequence[Split], summaries: Sequence[Summary], findings: Findings, sampled: bool = False
) -> None:
    """Reports classes that occur in none of the splits of a loader.

    Reports nothing if any label is broken, because it may contain the missing classes.

    Args:
        summaries: one for each split.
        sampled: whether only a few labels were read. Then it is reported only if there is a single class.
    """
    if any(summary.outside or summary.broken_labels for summary in summaries):
        return
    loader, names = splits[0].loader, splits[0].classes
    read, available = sum(summary.read for summary in summaries), sum(len(split.pairs) for split in splits)
    pixels = [sum(counts) for counts in zip(*(summary.pixels for summary in summaries))]
    present = [name for name, count in zip(names, pixels) if count]
    absent = [name for name, count in zip(names, pixels) if not count]
    if len(pixels) > 1 and len(present) == 1 < read:
        findings.error(
            loader,
            f'{present[0]} is the only class in all {read} labels read, expected several classes: the labels may be '
            f'binary masks; {_advice(splits[0], set().union(*(summary.values for summary in summaries)))}',
        )
    elif present and absent and not sampled:
        advice = '' if read == available else '; use --all to read every label'
        findings.warning(
            loader,
            f'{len(absent)} of {len(pixels)} classes not found in the {read} labels read, of {available}: '
            f'{examples(absent)}; a network cannot learn them{advice}',
        )
