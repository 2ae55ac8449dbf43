"""Lists the images and labels of a dataset, and reports missing folders and files."""

import os.path as osp
from typing import Iterable, List, Optional, Sequence

from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from .classes import class_problems
from .files import Pair, Places, describe_missing, describe_nearest_folder, describe_suffixes, scan
from .findings import Findings, counted, examples, relative_names
from .splits import Split, type_name

LAYOUT_HINT = 'see docs/data.md for the expected layout'


class ListingError(Exception):
    """The images of a dataset cannot be listed. The message says why."""


def list_split(split: Split, findings: Findings) -> None:
    """Builds the dataset and sets `split.dataset`, `places`, `listed` and `pairs`. Problems become findings."""
    try:
        no_labels = _check_places(split, Places.of(split.cfg, split.cfg.get('data_root') or ''), findings)
        split.dataset = _build(split)
        split.places = Places.of(vars(split.dataset), '')
        _check_agreement(split, findings)
        if split.places.remote:
            findings.warning(split.name, f'{split.places.images} is a remote path and is not checked')
        elif not split.places.images:
            split.note = f'{counted(len(split.dataset.load_data_list()), "sample")} drawn on demand, no files to check'
        else:  # check again: the paths may be defaults of the dataset class that are not in the config
            no_labels = no_labels or _check_places(split, split.places, findings)
            _pair(split, _entries(split), no_labels, findings)
    except ListingError as problem:
        findings.error(split.name, str(problem))


def _check_places(split: Split, places: Places, findings: Findings) -> bool:
    """Reports missing labels, and raises an error for other missing paths.

    Returns:
        True if the labels are missing.

    Raises:
        ListingError: if the images or their list are missing.
    """
    root = split.cfg.get('data_root') or ''
    if places.remote:
        return False
    if root and not osp.isdir(root):
        raise ListingError(
            f'data_root is {root!r}, but {osp.abspath(root)} {describe_missing(root)} '
            f'({describe_nearest_folder(root)}): {LAYOUT_HINT}, or set another path for each dataloader with '
            '--cfg-options train_dataloader.dataset.data_root=PATH'
        )
    wrong = places.missing()
    if wrong:
        path = dict(image=places.images, label=places.labels, listing=places.listing)[next(iter(wrong))]
        sentence = f'{", ".join(wrong.values())} ({describe_nearest_folder(path)}): {LAYOUT_HINT}'
        if wrong.keys() != {'label'}:
            raise ListingError(sentence)
        findings.error(split.name, sentence)
    return bool(wrong)


def _build(split: Split) -> BaseDataset:
    try:
        return DATASETS.build(dict(split.cfg, pipeline=[], lazy_init=True))
    except Exception as error:
        raise ListingError(
            f'{split.type} cannot be built ({type(error).__name__}: {error}): check '
            f'{split.loader}_dataloader.dataset in the config'
        ) from error


def _entries(split: Split) -> List[dict]:
    places = split.places
    try:
        entries = split.dataset.load_data_list()
    except Exception as error:
        raise ListingError(
            f'{split.type} cannot list its images ({error}); the files in {places.images} end with '
            f'{describe_suffixes(scan(places.images))}: {LAYOUT_HINT}'
        ) from error
    if not entries and places.listing:
        raise ListingError(f'the list of images {places.listing} (ann_file) is empty: {LAYOUT_HINT}')
    if not entries:
        broken = [path for path in scan(places.images) if not osp.exists(osp.join(places.images, path))]
        if broken:
            raise ListingError(
                f'the image folder {places.images} contains broken links: {examples(broken)}; mount the disk that '
                'they point to, or create the links again'
            )
        suffix = getattr(split.dataset, 'img_suffix', 'its suffix')
        raise ListingError(
            f'no file in the image folder {places.images} ends with {suffix}; the files end with '
            f'{describe_suffixes(scan(places.images))}: {LAYOUT_HINT}, or set img_suffix'
        )
    return entries


def _check_agreement(split: Split, findings: Findings) -> None:
    """Checks the class names, and that dataset and pipeline agree on `num_classes` and `reduce_zero_label`."""
    for problem in class_problems(split):
        findings.error(split.name, problem)
    if split.label_transform.get('reduce_zero_label') not in (None, getattr(split.dataset, 'reduce_zero_label', None)):
        findings.error(
            split.name,
            f'reduce_zero_label is {split.dataset.reduce_zero_label} in the dataset, but '
            f'{split.reduce_zero_label} in {type_name(split.label_transform)}: set both to the same value, or labels '
            'cannot be loaded',
        )


def _pair(split: Split, entries: Sequence[dict], no_labels: bool, findings: Findings) -> None:
    """Sets `split.pairs` to the images that exist, and reports those that do not."""
    places, labels = split.places, {entry['img_path']: entry.get('seg_map_path') for entry in entries}
    split.listed = len(entries)
    absent = sorted(image for image in labels if not osp.isfile(image))
    if absent:
        listed = f' listed in {places.listing}' if places.listing else ''
        advice = _fault_of_list(places.listing) or 'copy or download the missing images again'
        findings.error(
            split.name,
            f'{counted(len(absent), "image")}{listed} not found in {places.images}: '
            f'{relative_names(absent, places.images)}; {advice}',
        )
    if places.labels is not None and not no_labels:
        no_labels = _no_label_has_the_suffix(split, labels.values(), findings)
    present = sorted(labels.keys() - set(absent))
    split.pairs = [Pair(split.name, image, None if no_labels else labels[image]) for image in present]


def _fault_of_list(listing: str) -> str:
    """The first problem in a list of images, which must have one name without suffix per line. '' if there is none."""
    if not listing:
        return ''
    with open(listing, encoding='utf-8') as file:
        for number, line in enumerate(file.read().removesuffix('\n').split('\n'), 1):
            for found, fault in (
                (line.startswith('\ufeff'), 'starts with a byte order mark'),
                (not line, 'is empty'),
                (line.split() != [line], 'contains whitespace'),
                (bool(osp.splitext(line)[1]), 'has a suffix'),
            ):
                if found:
                    return f'line {number} of the list {fault}, expected the name of one image without suffix'
    return ''


def _no_label_has_the_suffix(split: Split, labels: Iterable[Optional[str]], findings: Findings) -> bool:
    suffix, folder = getattr(split.dataset, 'seg_map_suffix', ''), split.places.labels
    present = scan(folder)
    if any(path.endswith(suffix) for path in present) or any(label and osp.isfile(label) for label in labels):
        return False
    findings.error(
        split.name,
        f'no file in the label folder {folder} ends with {suffix}; the files end with '
        f'{describe_suffixes(present)}: {LAYOUT_HINT} and the command that converts labels',
    )
    return True
