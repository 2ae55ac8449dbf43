"""Which images and labels a data set has, and which it should have."""

import os.path as osp
from typing import Iterable, List, Optional, Sequence

from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from .files import Pair, Places, absence, contents, endings, scan
from .findings import Findings, examples, names, number
from .splits import Split, type_name

GUIDE = 'docs/data.md says what belongs where'


class Unlistable(Exception):
    """The sentence that says why a data set's images cannot be listed."""


def list_split(split: Split, findings: Findings) -> None:
    """Builds the data set and fills `split.pairs`, if its images can be found."""
    try:
        no_labels = _check_places(split, Places.of(split.cfg, split.cfg.get('data_root') or ''), findings)
        split.dataset = _build(split)
        split.places = Places.of(vars(split.dataset), '')
        _check_agreement(split, findings)
        if split.places.remote:
            findings.warning(split.name, f'{split.places.images} is not on this machine and was not checked')
        elif not split.places.images:
            split.note = f'{number(len(split.dataset.load_data_list()), "sample")} drawn on demand, no files to check'
        else:  # once more for what the class names where the config does not
            no_labels = no_labels or _check_places(split, split.places, findings)
            _pair(split, _entries(split), no_labels, findings)
    except Unlistable as problem:
        findings.error(split.name, str(problem))


def _check_places(split: Split, places: Places, findings: Findings) -> bool:
    """Returns whether only the labels are missing."""
    root = split.cfg.get('data_root') or ''
    if places.remote:
        return False
    if root and not osp.isdir(root):
        raise Unlistable(
            f'data_root is {root!r}, but {osp.abspath(root)} {absence(root)} ({contents(root)}): '
            f'{GUIDE}; --cfg-options train_dataloader.dataset.data_root=PATH, and the same of the other '
            'loaders, names another place'
        )
    wrong = places.missing()
    if wrong:
        path = dict(image=places.images, label=places.labels, listing=places.listing)[next(iter(wrong))]
        sentence = f'{", ".join(wrong.values())} ({contents(path)}): {GUIDE}'
        if wrong.keys() != {'label'}:
            raise Unlistable(sentence)
        findings.error(split.name, sentence)
    return bool(wrong)


def _build(split: Split) -> BaseDataset:
    try:
        return DATASETS.build(dict(split.cfg, pipeline=[], lazy_init=True))
    except Exception as error:
        raise Unlistable(
            f'{split.type} cannot be built ({type(error).__name__}: {error}): see '
            f'{split.loader}_dataloader.dataset in the config'
        ) from error


def _entries(split: Split) -> List[dict]:
    places = split.places
    try:
        entries = split.dataset.load_data_list()
    except Exception as error:
        raise Unlistable(
            f'{split.type} cannot list its images ({error}); files of {places.images} end with '
            f'{endings(scan(places.images))}: {GUIDE}'
        ) from error
    if not entries and places.listing:
        raise Unlistable(f'the list of images {places.listing} (ann_file) is empty: {GUIDE}')
    if not entries:
        dead = [path for path in scan(places.images) if not osp.exists(osp.join(places.images, path))]
        if dead:
            raise Unlistable(
                f'{places.images} holds links to files that are not there: {examples(dead)}; mount what '
                'they lead to, or link again'
            )
        suffix = getattr(split.dataset, 'img_suffix', 'its suffix')
        raise Unlistable(
            f'no file in the image folder {places.images} ends with {suffix}; they end with '
            f'{endings(scan(places.images))}: {GUIDE}, img_suffix names another ending'
        )
    return entries


def _check_agreement(split: Split, findings: Findings) -> None:
    """Of the data set and its pipeline."""
    stated = split.loads_labels.get('num_classes')
    if stated is not None and split.classes and stated != len(split.classes):
        findings.error(
            split.name,
            f'the pipeline takes labels of {stated} classes, but {split.type} has '
            f'{len(split.classes)}: set num_classes of LoadCheckedAnnotations, and of the config, to that',
        )
    if split.loads_labels.get('reduce_zero_label') not in (None, getattr(split.dataset, 'reduce_zero_label', None)):
        findings.error(
            split.name,
            f'reduce_zero_label is {split.dataset.reduce_zero_label} for the data set, but '
            f'{split.reduce_zero_label} in {type_name(split.loads_labels)}: labels cannot be loaded until '
            'both are the same',
        )


def _pair(split: Split, entries: Sequence[dict], no_labels: bool, findings: Findings) -> None:
    """Fills `split.pairs` with the images that are there."""
    places, labels = split.places, {entry['img_path']: entry.get('seg_map_path') for entry in entries}
    split.listed = len(entries)
    absent = sorted(image for image in labels if not osp.isfile(image))
    if absent:
        listed = f'listed in {places.listing} ' if places.listing else ''
        cause = _fault_of_list(places.listing) or 'copy or download what is missing again'
        findings.error(
            split.name,
            f'{number(len(absent), "image")} {listed}not there in {places.images}: '
            f'{names(absent, places.images)}; {cause}',
        )
    if places.labels is not None and not no_labels:
        no_labels = _no_label_has_the_suffix(split, labels.values(), findings)
    there = sorted(labels.keys() - set(absent))
    split.pairs = [Pair(split.name, image, None if no_labels else labels[image]) for image in there]


def _fault_of_list(listing: str) -> str:
    """What makes a line of a list no name: the list has one name in each line, without an ending."""
    if not listing:
        return ''
    with open(listing, encoding='utf-8') as file:
        for number_, line in enumerate(file.read().split('\n')[:-1], 1):
            line = line.removesuffix('\r')
            for found, fault in (
                (line.startswith('\ufeff'), 'begins with a byte order mark'),
                (not line, 'is empty'),
                (line.split() != [line], 'holds more than a name'),
                (bool(osp.splitext(line)[1]), 'has an ending'),
            ):
                if found:
                    return f'line {number_} of the list {fault}, expected the name of an image without its ending'
    return ''


def _no_label_has_the_suffix(split: Split, labels: Iterable[Optional[str]], findings: Findings) -> bool:
    suffix, folder = getattr(split.dataset, 'seg_map_suffix', ''), split.places.labels
    there = scan(folder)
    if any(path.endswith(suffix) for path in there) or any(label and osp.isfile(label) for label in labels):
        return False
    findings.error(
        split.name,
        f'no file in the label folder {folder} ends with {suffix}; they end with '
        f'{endings(there)}: {GUIDE} and which command converts labels',
    )
    return True
