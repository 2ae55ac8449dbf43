"""What the first and last bytes of files show, without decoding: which are truncated, which have the same content."""

import filecmp
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from multiprocessing.pool import ThreadPool
from typing import NamedTuple

JPEG, JPEG_END = b'\xff\xd8', b'\xff\xd9'
PNG, PNG_END = b'\x89PNG\r\n\x1a\n', b'IEND\xaeB`\x82'


class Probe(NamedTuple):
    """The properties of a file that its first and last bytes show.

    Args:
        size: in bytes, -1 if the file cannot be read.
        complete: False if the end marker of the image format is missing, as in a truncated file.
        fingerprint: equal for files with the same content, and nearly always different for others.
    """

    size: int
    complete: bool
    fingerprint: tuple[int, bytes]


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


def probe_all(paths: Iterable[str]) -> dict[str, Probe]:
    """{path: its probe}. Repeated paths are probed once."""
    paths = list(dict.fromkeys(paths))
    with ThreadPool(8) as threads:  # a network disk serves several requests at once
        return dict(zip(paths, threads.map(probe, paths, chunksize=64)))


def same_files(images: Sequence[str], others: Sequence[str], probes: dict[str, Probe]) -> list[tuple[str, str]]:
    """Finds files with the same content: [(image, other), ...], at most one image per other file.

    To save time, only files with equal fingerprints are read completely.
    """
    candidates = defaultdict(list)
    for image in images:
        candidates[probes[image].fingerprint].append(image)
    same = []
    for other in (other for other in others if probes[other].size > 0):
        equal = (image for image in candidates[probes[other].fingerprint] if filecmp.cmp(image, other, shallow=False))
        same += [(image, other) for image in equal][:1]
    return same
