"""Lists the images and labels of a dataset, and reports missing folders and files."""

import os
import os.path as osp
import re
from collections import Counter
from collections.abc import Iterable

from mmengine.registry import DATASETS

from .classes import class_problems
from .findings import Findings, counted, examples
from .splits import Pair, Places, Split, type_name

LAYOUT_HINT = 'see docs/data.md for the expected layout'


class ListingError(Exception):
    """The images of a dataset cannot be listed. The message says why."""


def list_split(split: Split, findings: Findings) -> None:
    """Builds the dataset and sets `split.dataset`, `places`, `listed` and `pairs`. Problems become findings."""
    try:
        _build(split)
        labels_missing = _missing_labels(split, split.places)
        for problem in [*labels_missing, *class_problems(split), *_reduction_problems(split)]:
            findings.error(split.name, problem)
        if split.places.remote:
            findings.warning(split.name, f'{split.places.images} is a remote path and is not checked')
        elif not split.places.images:
            split.note = f'{counted(len(split.dataset.load_data_list()), "sample")} drawn on demand, no files to check'
        else:
            _pair(split, _entries(split), not labels_missing, findings)
    except ListingError as problem:
        findings.error(split.name, str(problem))


def _build(split: Split) -> None:
    try:
        split.dataset = DATASETS.build(dict(split.cfg, pipeline=[], lazy_init=True))
    except Exception as error:
        # Some datasets cannot be built without their files.
        _missing_labels(split, Places.of(split.cfg, split.cfg.get('data_root') or ''))
        raise ListingError(
            f'{split.type} cannot be built ({type(error).__name__}: {error}): check '
            f'{split.loader}_dataloader.dataset in the config'
        ) from error
    split.places = Places.of(vars(split.dataset), '')


def _missing_labels(split: Split, places: Places) -> list[str]:
    """One sentence if only the folder of the labels is missing.

    Raises:
        ListingError: if the images or their list are missing.
    """
    root = split.cfg.get('data_root') or ''
    if places.remote or not places.images:
        return []
    if root and not osp.isdir(root):
        raise ListingError(
            f'data_root is {root!r}, but {osp.abspath(root)} {_missing(root)} ({_nearest_folder(root)}): {LAYOUT_HINT}'
            ', or give each dataloader its path, as --cfg-options train_dataloader.dataset.data_root=PATH'
        )
    problems = {}
    for kind, folder in (('image', places.images), ('label', places.labels)):
        if folder and not (osp.isdir(folder) and os.listdir(folder)):
            state = 'is empty' if osp.isdir(folder) else _missing(folder)
            problems[folder] = f'the {kind} folder {folder} {state}'
    if places.listing and not osp.exists(places.listing):
        problems[places.listing] = f'the list of images {places.listing} (ann_file) does not exist'
    if not problems:
        return []
    sentence = f'{", ".join(problems.values())} ({_nearest_folder(next(iter(problems)))}): {LAYOUT_HINT}'
    if list(problems) != [places.labels]:
        raise ListingError(sentence)
    return [sentence]


def _missing(path: str) -> str:
    """A predicate for a path that does not exist. It tells a broken link from a missing file."""
    return f'is a link to {os.readlink(path)}, which does not exist' if osp.islink(path) else 'does not exist'


def _nearest_folder(path: str) -> str:
    """The first names in the nearest parent folder of `path` that exists: 'data contains a, b'."""
    folder = osp.dirname(path.rstrip('/'))
    while folder and not osp.isdir(folder):
        folder = osp.dirname(folder)
    names = sorted(os.listdir(folder or '.'))
    return f'{folder or "."} contains {", ".join(names[:6]) or "nothing"}{", ..." if len(names) > 6 else ""}'


def _reduction_problems(split: Split) -> list[str]:
    in_dataset = getattr(split.dataset, 'reduce_zero_label', None)
    if split.label_transform.get('reduce_zero_label') in (None, in_dataset):
        return []
    return [
        f'reduce_zero_label is {in_dataset} in the dataset, but {split.reduce_zero_label} in '
        f'{type_name(split.label_transform)}: set both to the same value'
    ]


def _entries(split: Split) -> list[dict]:
    """What the dataset lists, at least one image."""
    folder, listing = split.places.images, split.places.listing
    try:
        entries = split.dataset.load_data_list()
    except Exception as error:
        found = describe_suffixes(scan(folder))
        raise ListingError(
            f'{split.type} cannot list its images ({error}); the files in {folder} end with {found}: {LAYOUT_HINT}'
        ) from error
    if entries:
        return entries
    if listing:
        raise ListingError(f'the list of images {listing} (ann_file) is empty: {LAYOUT_HINT}')
    broken = [path for path in scan(folder) if not osp.exists(osp.join(folder, path))]
    if broken:
        raise ListingError(f'the image folder {folder} contains broken links: {examples(broken)}; mount the disk')
    suffix = getattr(split.dataset, 'img_suffix', 'its suffix')
    raise ListingError(f'{_no_file_with("image", folder, suffix)}: {LAYOUT_HINT}, or set img_suffix')


def _pair(split: Split, entries: list[dict], has_labels: bool, findings: Findings) -> None:
    """Sets `split.pairs` to the images that exist, and reports those that do not."""
    places, suffix = split.places, getattr(split.dataset, 'seg_map_suffix', '')
    labels = {entry['img_path']: entry.get('seg_map_path') or '' for entry in entries}
    split.listed = len(entries)
    absent = sorted(image for image in labels if not osp.isfile(image))
    if absent:
        listed = f' listed in {places.listing}' if places.listing else ''
        which, names = f'{counted(len(absent), "image")}{listed}', examples(absent, places.images)
        advice = fault_of_list(places.listing) or 'copy or download them again'
        findings.error(split.name, f'{which} not found in {places.images}: {names}; {advice}')
    if not any(labels.values()):
        advice = f'set data_prefix.seg_map_path in {split.loader}_dataloader.dataset'
        problem = f'the data set has no labels, which training and metrics need: {advice}'
        findings.add('warning' if split.loader == 'test' else 'error', split.name, problem)
    elif has_labels and places.labels and not _any_label(places.labels, suffix, labels.values()):
        has_labels = False
        problem = _no_file_with('label', places.labels, suffix)
        findings.error(split.name, f'{problem}: {LAYOUT_HINT} and the command that converts labels')
    present = sorted(labels.keys() - set(absent))
    split.pairs = [Pair(split.name, image, labels[image] if has_labels else '') for image in present]


def _any_label(folder: str, suffix: str, labels: Iterable[str]) -> bool:
    return any(path.endswith(suffix) for path in scan(folder)) or any(map(osp.isfile, labels))


def _no_file_with(kind: str, folder: str, suffix: str) -> str:
    found = describe_suffixes(scan(folder))
    return f'no file in the {kind} folder {folder} ends with {suffix}; the files end with {found}'


def fault_of_list(listing: str) -> str:
    """The first problem in a list of images, which must have one name without suffix per line. '' if there is none."""
    if not listing:
        return ''
    with open(listing, encoding='utf-8') as file:
        lines = file.read().removesuffix('\n').split('\n')
    for number, line in enumerate(lines, 1):
        faults = {
            'starts with a byte order mark': line.startswith('\ufeff'),
            'is empty': not line,
            'contains whitespace': line.split() != [line],
            'has a suffix': bool(osp.splitext(line)[1]),
        }
        for fault in (fault for fault, found in faults.items() if found):
            return f'line {number} of the list {fault}, expected the name of one image without suffix'
    return ''


def scan(folder: str) -> list[str]:
    """Paths of all files in a folder and its subfolders, relative to it. Like MMSegmentation, ignores hidden files."""
    found = []
    for parent, _, names in os.walk(folder, followlinks=True):
        inside = osp.relpath(parent, folder)
        found += [osp.normpath(osp.join(inside, name)) for name in names if not name.startswith('.')]
    return sorted(found)


def describe_suffixes(paths: Iterable[str]) -> str:
    """The most frequent suffixes with their counts: '_gtFine_color.png (2), .json (1)'."""
    matches = {path: re.search(r'(_[A-Za-z][A-Za-z0-9]*)*\.\w+$', path) for path in paths}
    suffixes = Counter(match[0] if match else osp.basename(path) for path, match in matches.items())
    return ', '.join(f'{suffix} ({count})' for suffix, count in suffixes.most_common(4)) or 'no files'
