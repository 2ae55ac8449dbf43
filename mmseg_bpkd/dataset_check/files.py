"""What can be said about files without decoding them: which there are, whether they end, which are the same."""

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
    """An image and its label: absolute or relative to the working directory. No label is one that cannot be read."""

    split: str
    image: str
    label: Optional[str]


@dataclass(frozen=True)
class Places:
    """Where a data set's config, or the built data set, looks for its files."""

    images: str
    labels: Optional[str]
    listing: str  # of image names; empty where every image of the folder counts

    @classmethod
    def of(cls, source: dict, root: str) -> 'Places':
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
        """{which place: what is wrong with it}, empty if all are there, or if no place is named."""
        wrong: Dict[str, str] = {}
        if not self.images:
            return wrong
        for kind, folder in (('image', self.images), ('label', self.labels)):
            if folder is not None and not osp.isdir(folder):
                wrong[kind] = f'the {kind} folder {folder} {absence(folder)}'
            elif folder is not None and not os.listdir(folder):
                wrong[kind] = f'the {kind} folder {folder} is empty'
        if self.listing and not osp.exists(self.listing):
            wrong['listing'] = f'the list of images {self.listing} (ann_file) is not there'
        return wrong


def absence(path: str) -> str:
    return f'is a link to {os.readlink(path)}, which is not there' if osp.islink(path) else 'is not there'


def contents(path: str) -> str:
    """What lies in the nearest folder above `path` that exists."""
    folder = osp.dirname(path.rstrip('/'))
    while folder and not osp.isdir(folder):
        folder = osp.dirname(folder)
    names = sorted(os.listdir(folder or '.'))
    return f'{folder or "."} holds {", ".join(names[:6]) or "nothing"}{", ..." if len(names) > 6 else ""}'


def scan(folder: str) -> List[str]:
    """Paths of all files below a folder, relative to it, hidden ones left out as MMSegmentation does."""
    found = []
    for parent, _, names in os.walk(folder, followlinks=True):
        inside = osp.relpath(parent, folder)
        found += [osp.normpath(osp.join(inside, name)) for name in names if not name.startswith('.')]
    return sorted(found)


def endings(paths: Iterable[str]) -> str:
    """The endings that names have, most frequent first: '_gtFine_color.png (2), .json (1)'."""
    ends = Counter()
    for path in paths:
        match = re.search(r'(_[A-Za-z][A-Za-z0-9]*)*\.\w+$', path)
        ends[match[0] if match else osp.basename(path)] += 1
    return ', '.join(f'{end} ({count})' for end, count in ends.most_common(4)) or 'no files'


class Probe(NamedTuple):
    """`ends` is false where a file does not end as its format does; `content` is nearly unique."""

    size: int
    ends: bool
    content: Tuple[int, bytes]


def probe(path: str) -> Probe:
    """Reads the first and the last bytes of a file."""
    try:
        with open(path, 'rb') as file:
            head = file.read(512)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 512))
            tail = file.read()
    except OSError:  # reading it whole will say why
        return Probe(-1, False, (-1, path.encode()))
    if head.startswith(JPEG):
        ends = tail.rstrip(b'\0').endswith(JPEG_END)
    elif head.startswith(PNG):
        ends = tail.endswith(PNG_END)
    else:
        ends = size > 0 and not path.lower().endswith(('.jpg', '.jpeg', '.png'))
    return Probe(size, ends, (size, head + tail))


def probe_all(paths: Iterable[str]) -> Dict[str, Probe]:
    paths = list(dict.fromkeys(paths))
    with ThreadPool(8) as threads:  # a network disk answers several at once
        return dict(zip(paths, threads.map(probe, paths, chunksize=64)))


def same_files(images: Sequence[str], others: Sequence[str], probes: Dict[str, Probe]) -> List[Tuple[str, str]]:
    """Pairs (image, other) of the same content. Only what agrees in size, beginning and end is read whole."""
    by_content: Dict[tuple, List[str]] = {}
    for image in images:
        by_content.setdefault(probes[image].content, []).append(image)
    same = []
    for other in others:
        if probes[other].size > 0:
            candidates = by_content.get(probes[other].content, [])
            same += [(image, other) for image in candidates if image == other or _digest(image) == _digest(other)][:1]
    return same


def _digest(path: str) -> bytes:
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha1').digest()
