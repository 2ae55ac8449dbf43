"""What the files that were read say: classes and void, sizes, and what is wrong with them."""

import inspect
import os.path as osp
from collections import Counter
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple

from mmcv.image import rescale_size

from .findings import Findings, examples, names, number, values_text
from .reading import Reading
from .splits import Split, type_name

CROPS = ('RandomCrop', 'FastRandomCrop')
CONVERT = 'docs/data.md says which command converts labels'


@dataclass
class Summary:
    """Of what was read of a split.

    Args:
        pixels: per class, in the order of the classes.
        outside: {value in the file: pixels} of what is neither class nor void.
        sizes: {(width, height): number of images}.
    """

    read: int
    pixels: List[int]
    void: int
    outside: Dict[int, int]
    sizes: Dict[Tuple[int, int], int]
    broken_labels: int

    @property
    def total(self) -> int:
        return sum(self.pixels) + self.void + sum(self.outside.values())

    def share(self, pixels: int) -> float:
        return pixels / max(1, self.total)


def loaded_value(value: int, reduce_zero_label: bool, label_map: Optional[dict]) -> int:
    """The class that `LoadAnnotations` makes of a value of the file. It wraps what exceeds a byte: here that stays."""
    if reduce_zero_label and 0 <= value <= 255:
        value = 255 if value in (0, 255) else value - 1
    return (label_map or {}).get(value, value)


def summarize(split: Split, readings: Sequence[Reading]) -> Summary:
    raw = Counter()
    for reading in readings:
        raw.update(reading.values)
    label_map, void, pixels, outside = split.dataset.metainfo.get('label_map'), 0, [0] * len(split.classes), {}
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


def judge(split: Split, readings: Sequence[Reading], findings: Findings) -> Summary:
    """Adds what is wrong with the files that were read of a split."""
    summary = summarize(split, readings)
    _judge_files(split, readings, findings)
    labelled = [reading for reading in readings if reading.values]
    if summary.outside:
        wrong = [reading.pair.label for reading in labelled if not summary.outside.keys().isdisjoint(reading.values)]
        findings.error(
            split.name,
            f'{number(len(wrong), "label")} of {len(labelled)} read with values outside of the '
            f'{len(split.classes)} classes ({names(wrong, split.places.labels)}): '
            f'{values_text(sorted(summary.outside))}, expected {_expected(split)}; '
            f'{_likely_mistake(split, summary.outside)}',
        )
    elif labelled and not any(summary.pixels):
        values = sorted(set().union(*(reading.values for reading in labelled)))
        findings.error(
            split.name,
            f'void everywhere in all of the {number(len(labelled), "label")} read: '
            f'{values_text(values)}, expected {_expected(split)}; {CONVERT}',
        )
    elif labelled:
        _judge_plausibility(split, summary, labelled, findings)
    return summary


def judge_classes(splits: Sequence[Split], summaries: Sequence[Summary], findings: Findings) -> None:
    """Warns of classes that none of the splits of a loader has. Broken labels could have had them: then it does not."""
    intact = all(not summary.outside and not summary.broken_labels for summary in summaries)
    read, there = sum(summary.read for summary in summaries), sum(len(split.pairs) for split in splits)
    pixels = [sum(counts) for counts in zip(*(summary.pixels for summary in summaries))]
    if intact and len(pixels) > 1 and sum(map(bool, pixels)) == 1 < read:
        only = splits[0].classes[[bool(count) for count in pixels].index(True)]
        findings.error(
            splits[0].loader,
            f'{only} is the only class in all of the {read} labels read: are these masks of one thing? {CONVERT}',
        )
    elif intact and any(pixels) and not all(pixels):
        absent = [name for name, count in zip(splits[0].classes, pixels) if not count]
        more = '' if read == there else ', --all reads every label'
        findings.warning(
            splits[0].loader,
            f'{len(absent)} of {len(pixels)} classes in none of the {read} labels '
            f'read of {there}: {examples(absent)}; a network cannot learn them{more}',
        )


def _judge_files(split: Split, readings: Sequence[Reading], findings: Findings) -> None:
    places, of = split.places, f'of {len(readings)} read'
    for kind, folder in (('image', places.images), ('label', places.labels)):
        broken = {
            getattr(reading.pair, kind): getattr(reading, f'{kind}_fault')
            for reading in readings
            if getattr(reading, f'{kind}_fault')
        }
        if broken:
            shown = [f'{osp.relpath(path, folder)} ({fault})' for path, fault in sorted(broken.items())]
            findings.error(
                split.name,
                f'{number(len(broken), kind)} {of} cannot be used in {folder}: '
                f'{examples(shown)}; copy or download again',
            )
    coloured = sorted(reading.pair.label for reading in readings if reading.bands > 1)
    if coloured:
        findings.error(
            split.name,
            f'{number(len(coloured), "label")} {of} in colour, expected one channel of class '
            f'numbers (a palette is right) in {places.labels}: {names(coloured, places.labels)}; {CONVERT}',
        )
    sizes = sorted(
        (reading.pair.label, reading.label_size, reading.image_size)
        for reading in readings
        if reading.label_size and reading.image_size and reading.label_size != reading.image_size
    )
    if sizes:
        shown = [f'{osp.relpath(path, places.labels)} {a[0]}x{a[1]}, image {b[0]}x{b[1]}' for path, a, b in sizes]
        findings.error(
            split.name,
            f'{number(len(sizes), "label")} {of} of another size than the image: '
            f'{examples(shown)}; image and label must come from the same release',
        )
    crop = split.transform(*CROPS).get('crop_size')
    if crop:
        height, width = crop if isinstance(crop, (list, tuple)) else (crop, crop)
        small = [
            reading.pair.image
            for reading in readings
            if reading.image_size and not _fills(largest_size(reading.image_size, split.pipeline), (width, height))
        ]
        if 100 * len(small) > len(readings):  # published data sets have a few
            findings.warning(
                split.name,
                f'{number(len(small), "image")} {of} smaller than the crop, {width}x{height} '
                f'(width x height), even at the largest scale of training: {names(small, places.images)}; '
                'the rest of each crop will be void',
            )


def _judge_plausibility(split: Split, summary: Summary, labelled: Sequence[Reading], findings: Findings) -> None:
    if not split.reduce_zero_label and _zero_is_void_by_default(split):
        findings.warning(
            split.name,
            f'reduce_zero_label is off, but {split.type} is published with 0 for void: '
            'with such labels every class is shifted by one; set it on in data set and pipeline',
        )
    if split.reduce_zero_label and any(255 in reading.values for reading in labelled):
        published = _zero_is_void_by_default(split)  # without 255
        (findings.error if published else findings.warning)(
            split.name,
            'reduce_zero_label takes 0 for void, but the labels hold 255 as well: if they were reduced '
            'before, class 0 is lost and every other is shifted by one; '
            + ('unpack the labels again' if published else 'set it off then'),
        )
    if summary.share(summary.void) > 0.5:
        findings.warning(
            split.name,
            f'{100 * summary.share(summary.void):.0f} % of the pixels of the {len(labelled)} '
            f'labels read are void, more than half: the files should hold {_expected(split)}',
        )


def largest_size(size: Tuple[int, int], pipeline: Sequence[dict]) -> Tuple[int, int]:
    """(width, height) before a random crop, where the pipeline resizes at random to the largest."""
    for transform in pipeline:
        scale = transform.get('scale')
        if type_name(transform) in CROPS:
            break
        if type_name(transform) in ('Resize', 'RandomResize') and isinstance(scale, (list, tuple)):
            scale = max(scale) if isinstance(scale[0], (list, tuple)) else scale
            scale = tuple(int(extent * max(transform.get('ratio_range') or [1])) for extent in scale)
            size = rescale_size(size, scale) if transform.get('keep_ratio') else scale
    return size


def _fills(size: Tuple[int, int], crop: Tuple[int, int]) -> bool:
    return size[0] >= crop[0] and size[1] >= crop[1]


def _expected(split: Split) -> str:
    count = len(split.dataset.metainfo.get('label_map') or split.classes)
    return (
        f'1 to {count}, or 0 for void'
        if split.reduce_zero_label
        else (f'0 to {count - 1}, or {split.ignore_index} for void')
    )


def _likely_mistake(split: Split, outside: Dict[int, int]) -> str:
    classes = len(split.classes)
    if classes == 19 and outside.keys() <= set(range(19, 34)):
        return f'these look like labelIds of Cityscapes, training needs labelTrainIds: {CONVERT}'
    if outside.keys() == {classes} and not split.reduce_zero_label:
        if _zero_is_void_by_default(split):
            return f'{split.type} is published with 0 for void: set reduce_zero_label=True in data set and pipeline'
        return f'if {classes} is void, convert it to 255; if 0 is, set reduce_zero_label=True in data set and pipeline'
    return f'{CONVERT}, or check the number of classes'


def _zero_is_void_by_default(split: Split) -> bool:
    parameter = inspect.signature(type(split.dataset).__init__).parameters.get('reduce_zero_label')
    return parameter is not None and parameter.default is True
