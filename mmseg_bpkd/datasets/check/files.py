"""Checks that need no decoding: which files exist, which are complete, and which have the same content."""

import hashlib
import os
import os.path as osp
import re
from collections import Counter
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

JPEG, JPEG_END = b'\xff\xd8', b'\xff\xd9'
PNG, PNG_END = b'\x89PNG\r\n\x1a\n', b'IEND\xaeB`\x82'


@dataclass(frozen=True)
class Pair:
    """The paths of an image and its label. `label` is None if the label file does not exist."""

    split: str
    image: str
    label: Optional[str]


@dataclass(frozen=True)
class Places:
    """The paths at which a dataset looks for its files.

    Args:
        images: folder of the images. Empty if the dataset has no files.
        labels: folder of the labels. None if the dataset has no labels.
        listing: file that lists the image names. Empty if the dataset uses all images of the folder.
    """

    images: str
    labels: Optional[str]
    listing: str

    @classmethod
    def of(cls, source: dict, root: str) -> 'Places':
        """Reads the paths from `data_prefix` and `ann_file` of `source`, which are relative to `root`."""
        prefix = source.get('data_prefix') or {}
        labels, listing = prefix.get('seg_map_path'), source.get('ann_file') or ''
        return cls(
            osp.join(root, prefix.get('img_path') or ''),
            None if labels is None else osp.join(root, labels),
            osp.join(root, listing) if listing else '',
        )

    @property
    def remote(self) -> bool:
        return '://' in self.images

    def missing(self) -> Dict[str, str]:
        """{'image', 'label' or 'listing': the problem}. Empty if all paths exist or the dataset has no files."""
        wrong: Dict[str, str] = {}
        if not self.images:
            return wrong
        for kind, folder in (('image', self.images), ('label', self.labels)):
            if folder is not None and not osp.isdir(folder):
                wrong[kind] = f'the {kind} folder {folder} {describe_missing(folder)}'
            elif folder is not None and not os.listdir(folder):
                wrong[kind] = f'the {kind} folder {folder} is empty'
        if self.listing and not osp.exists(self.listing):
            wrong['listing'] = f'the list of images {self.listing} (ann_file) does not exist'
        return wrong


def describe_missing(path: str) -> str:
    """A predicate for a path that does not exist. It tells a broken link from a missing file."""
    return f'is a link to {os.readlink(path)}, which does not exist' if osp.islink(path) else 'does not exist'


def describe_nearest_folder(path: str) -> str:
    """The first names in the nearest parent folder of `path` that exists: 'data contains a, b'."""
    folder = osp.dirname(path.rstrip('/'))
    while folder and not osp.isdir(folder):
        folder = osp.dirname(folder)
    names = sorted(os.listdir(folder or '.'))
    return f'{folder or "."} contains {", ".join(names[:6]) or "nothing"}{", ..." if len(names) > 6 else ""}'


def scan(folder: str) -> List[str]:
    """Paths of all files in a folder and its subfolders, relative to it. Like MMSegmentation, ignores hidden files."""
    found = []
    for parent, _, names in os.walk(folder, followlinks=True):
        inside = osp.relpath(parent, folder)
        found += [osp.normpath(osp.join(inside, name)) for name in names if not name.startswith('.')]
    return sorted(found)


def describe_suffixes(paths: Iterable[str]) -> str:
    """The most frequent suffixes with their counts: '_gtFine_color.png (2), .json (1)'."""
    suffixes = Counter()
    for path in paths:
        match = re.search(r'(_[A-Za-z][A-Za-z0-9]*)*\.\w+$', path)
        suffixes[match[0] if match else osp.basename(path)] += 1
    return ', '.join(f'{suffix} ({count})' for suffix, count in suffixes.most_common(4)) or 'no files'


class Probe(NamedTuple):
    """The properties of a file that its first and last bytes show.

    Args:
        size: in bytes, -1 if the file cannot be read.
        complete: False if the end marker of the image format is missing, as in a truncated file.
        fingerprint: equal for files with the same content, and nearly always different for others.
    """

    size: int
    complete: bool
    fingerprint: Tuple[int, bytes]


def probe(path: str) -> Probe:
    """Reads the first and the last 512 bytes of a file."""
    try:
        with open(path, 'rb') as file:
            head = file.read(512)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 512))
            tail = file.read()
    except OSError:  # decoding the file will report the reason
        return Probe(-1, False, (-1, path.encode()))
    if head.startswith(JPEG):
        complete = tail.rstrip(b'\0').endswith(JPEG_END)
    elif head.startswith(PNG):
        complete = tail.endswith(PNG_END)
    else:
        complete = size > 0 and not path.lower().endswith(('.jpg', '.jpeg', '.png'))
    return Probe(size, complete, (size, head + tail))


def probe_all(paths: Iterable[str]) -> Dict[str, Probe]:
    """{path: its probe}. Repeated paths are probed once."""
    paths = list(dict.fromkeys(paths))
    with ThreadPool(8) as threads:  # a network disk serves several requests at once
        return dict(zip(paths, threads.map(probe, paths, chunksize=64)))


def same_files(images: Sequence[str], others: Sequence[str], probes: Dict[str, Probe]) -> List[Tuple[str, str]]:
    """Finds files with the same content: [(image, other), ...], at most one image per other file.

    To save time, only files with equal fingerprints are read completely.
    """
    by_fingerprint: Dict[tuple, List[str]] = {}
    for image in images:
        by_fingerprint.setdefault(probes[image].fingerprint, []).append(image)
    same = []
    for other in others:
        if probes[other].size > 0:
            candidates = by_fingerprint.get(probes[other].fingerprint, [])
            same += [(image, other) for image in candidates if image == other or _digest(image) == _digest(other)][:1]
    return same


def _digest(path: str) -> bytes:
    with open(path, 'rb') as file:
        return hashlib.sha1(file.read()).digest()
