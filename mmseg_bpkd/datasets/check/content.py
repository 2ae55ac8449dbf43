"""Checks the decoded images and labels: label values, classes, void, sizes and bits."""

import os.path as osp
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
from mmcv.image import rescale_size

from mmseg_bpkd.datasets.labels import LabelRule, Value, format_values

from .decoding import Reading
from .findings import Findings, counted, examples
from .mapping import REDUCE_HINT, how_to_load, likely_mistake, zero_is_void_by_default
from .splits import Split, type_name

CROPS = ('RandomCrop', 'FastRandomCrop')
FEW_VALUES = 64  # of a channel; fewer leave too little of an image
ALL_BITS = "dict(type='LoadImageFromFile', color_type=3, to_float32=True)"


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
    rule = split.rule
    total: Counter[Value] = Counter()
    for reading in readings:
        if fits(rule, reading):
            total.update(reading.values)
    classes = {value: rule.class_of(value) for value in total}
    pixels = [0] * rule.num_classes
    for value, cls in classes.items():
        if cls is not None and cls != rule.ignore_index:
            pixels[cls] += total[value]
    return Summary(
        read=len(readings),
        pixels=pixels,
        void=sum(total[value] for value, cls in classes.items() if cls == rule.ignore_index),
        outside={value: total[value] for value, cls in classes.items() if cls is None},
        values=set(total),
        sizes=Counter(reading.image_size for reading in readings if reading.image_size),
        broken_labels=sum(bool(r.label_fault or (r.label_size and not fits(rule, r))) for r in readings),
    )


def check_content(split: Split, readings: Sequence[Reading], findings: Findings) -> Summary:
    """Reports the problems of the decoded files of a split, and returns their totals."""
    summary = summarize(split, readings)
    _check_faults(split, readings, findings)
    _check_sizes(split, readings, findings)
    _check_crop(split, readings, findings)
    _check_batch(split, summary, findings)
    _check_bits(split, readings, findings)
    labeled = [reading for reading in readings if reading.values and fits(split.rule, reading)]
    if summary.outside:
        _report_outside(split, summary, labeled, findings)
    elif labeled:
        _check_void(split, summary, labeled, findings)
    return summary


def _check_faults(split: Split, readings: Sequence[Reading], findings: Findings) -> None:
    """Reports files that cannot be decoded, and labels with other channels than the pipeline expects."""
    images, labels = split.places.images, split.places.labels
    for kind, folder, faults in (
        ('image', images, {reading.pair.image: reading.image_fault for reading in readings}),
        ('label', labels, {reading.pair.label: reading.label_fault for reading in readings}),
    ):
        shown = [f'{osp.relpath(path, folder)} ({fault})' for path, fault in sorted(faults.items()) if fault]
        if shown:
            which = f'{len(shown)} of {counted(len(readings), kind)} read from {folder}'
            findings.error(split.name, f'{which} cannot be used: {examples(shown)}; copy or download again')
    others = [reading for reading in readings if reading.label_size and not fits(split.rule, reading)]
    if others:
        problem = 'must have one channel of class indices, with or without a palette, got a color image'
        if split.rule.needs_colors:
            problem = 'must be color images, because label_map has colors'
        which = f'{len(others)} of {counted(len(readings), "label")} read from {labels}'
        advice = how_to_load(split, {value for reading in others for value in reading.values})
        names = examples([reading.pair.label for reading in others], labels)
        findings.error(split.name, f'{which} {problem}: {names}; {advice}')


def _check_sizes(split: Split, readings: Sequence[Reading], findings: Findings) -> None:
    wrong = [
        '{} {}x{}, image {}x{}'.format(osp.relpath(r.pair.label, split.places.labels), *r.label_size, *r.image_size)
        for r in readings
        if r.image_size and r.label_size and r.image_size != r.label_size
    ]
    if wrong:
        which = f'{len(wrong)} of {counted(len(readings), "label")} read'
        findings.error(split.name, f'{which} must have the size of the image: {examples(wrong)}; copy both again')


def _check_crop(split: Split, readings: Sequence[Reading], findings: Findings) -> None:
    """Reports images into which the crop does not fit, if they are more than 1 %: published datasets have a few."""
    crop = split.transform(*CROPS).get('crop_size') or 0
    height, width = crop if isinstance(crop, (list, tuple)) else (crop, crop)
    sizes = {r.pair.image: largest_size(r.image_size, split.pipeline) for r in readings if r.image_size}
    small = [image for image, size in sizes.items() if size[0] < width or size[1] < height]
    if 100 * len(small) > len(readings):
        which = f'{len(small)} of {counted(len(readings), "image")} read'
        findings.warning(
            split.name,
            f'the crop, {width}x{height} (width x height), does not fit into {which}, even at the largest training '
            f'scale: {examples(small, split.places.images)}; the rest of the crop will be void',
        )


def _check_batch(split: Split, summary: Summary, findings: Findings) -> None:
    """Reports images of several sizes in a batch of validation or testing, where nothing crops or pads them."""
    sizes = {largest_size(size, split.pipeline) for size in summary.sizes}
    if split.loader != 'train' and split.batch_size > 1 and len(sizes) > 1 and not split.transform(*CROPS):
        which = ', '.join(f'{width}x{height}' for width, height in sorted(sizes)[:3])
        findings.error(
            split.name,
            f'{split.loader}_dataloader.batch_size is {split.batch_size}, but the images have {len(sizes)} sizes: '
            f'{which}{", ..." if len(sizes) > 3 else ""}; a batch needs one size: set batch_size=1',
        )


def largest_size(size: tuple[int, int], pipeline: Sequence[dict]) -> tuple[int, int]:
    """The largest image size, (width, height), that the pipeline's random resizing can give before the crop."""
    for transform in pipeline:
        scale = transform.get('scale')
        if type_name(transform) in CROPS:
            break
        if type_name(transform) in ('Resize', 'RandomResize') and isinstance(scale, (list, tuple)):
            scale = max(scale) if isinstance(scale[0], (list, tuple)) else scale
            width, height = (int(extent * max(transform.get('ratio_range') or [1])) for extent in scale)
            size = rescale_size(size, (width, height)) if transform.get('keep_ratio') else (width, height)
    return size


def _check_bits(split: Split, readings: Sequence[Reading], findings: Findings) -> None:
    """Reports images of more than 8 bits per channel that the pipeline loads as 8 bits."""
    load = split.transform('LoadImageFromFile')
    flag = load.get('color_type', 'color')
    loads_all = flag == 'unchanged' or (isinstance(flag, int) and flag & cv2.IMREAD_ANYDEPTH)
    deep = {reading.pair.image: reading.depth for reading in readings if reading.depth}
    if not deep or not load or loads_all:
        return
    bits, left = (max(numbers) for numbers in zip(*deep.values()))
    findings.add(
        'error' if left < FEW_VALUES else 'warning',
        split.name,
        f'{len(deep)} of {counted(len(readings), "image")} read have more than 8 bits per channel ({bits} are used), '
        f'but are loaded as 8 bits, which leaves at most {left} values: {examples(list(deep), split.places.images)}; '
        f'load them with {ALL_BITS}, give mean and std in their units, and take out PhotoMetricDistortion',
    )


def _report_outside(split: Split, summary: Summary, labeled: Sequence[Reading], findings: Findings) -> None:
    outside = set(summary.outside)
    wrong = [reading.pair.label for reading in labeled if outside & reading.values.keys()]
    which = f'{len(wrong)} of {counted(len(labeled), "label")} read ({examples(wrong, split.places.labels)})'
    findings.error(
        split.name,
        f'values outside the {len(split.classes)} classes in {which}: {format_values(sorted(outside))}, expected '
        f'{split.rule.expected}; {likely_mistake(split, summary.values, outside)}',
    )


def _check_void(split: Split, summary: Summary, labeled: Sequence[Reading], findings: Findings) -> None:
    """Reports what is implausible about void in labels without values outside the classes."""
    read, expected, published = counted(len(labeled), 'label'), split.rule.expected, zero_is_void_by_default(split)
    if not any(summary.pixels):
        values, advice = format_values(sorted(summary.values)), how_to_load(split, summary.values)
        findings.error(split.name, f'only void in the {read} read: {values}, expected {expected}; {advice}')
        return
    if published and not split.reduce_zero_label:
        findings.warning(
            split.name,
            f'reduce_zero_label is False, but {split.type} is published with 0 for void: classes are shifted by one; '
            f'{REDUCE_HINT}',
        )
    if split.reduce_zero_label and 255 in summary.values:
        findings.add(
            'error' if published else 'warning',  # such published labels have no 255
            split.name,
            'reduce_zero_label=True expects 0 for void, but the labels also contain 255: if they are already reduced, '
            'class 0 is lost and the others are shifted by one; '
            + ('extract the labels again' if published else 'then set reduce_zero_label=False'),
        )
    void = 100 * summary.share(summary.void)
    if void > 50:
        text = f'{void:.0f} % of the pixels of the {read} read are void, expected at most 50 %: use {expected}'
        findings.warning(split.name, text)


def check_absent_classes(
    splits: Sequence[Split], summaries: Sequence[Summary], findings: Findings, sampled: bool = False
) -> None:
    """Reports classes that occur in none of the splits of a loader, unless a broken label may contain them.

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
        values = {value for summary in summaries for value in summary.values}
        findings.error(
            loader,
            f'{present[0]} is the only class in all {read} labels read, expected several classes: the labels may be '
            f'binary masks; {how_to_load(splits[0], values)}',
        )
    elif present and absent and not sampled:
        advice = '' if read == available else '; use --all to read every label'
        findings.warning(
            loader,
            f'{len(absent)} of {len(pixels)} classes not found in the {read} labels read, of {available}: '
            f'{examples(absent)}; a network cannot learn them{advice}',
        )
