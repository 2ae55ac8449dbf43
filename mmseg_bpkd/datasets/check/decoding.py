"""Decodes images and labels, in several processes and within a time limit."""

import random
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import chain, islice, takewhile

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from mmseg_bpkd.datasets.labels import Value, count_values

from .probes import Probe
from .splits import Pair

EXIF_ORIENTATION, ROTATED = 0x0112, (5, 6, 7, 8)  # a tag, and its values for 90 degrees; cv2 applies the rotation
MAX_COLORS = 1000  # of a label in color; an image with more is no label


@dataclass
class Reading:
    """The decoded content of a pair of files. Sizes are (width, height) in pixels.

    Args:
        image_size: after the EXIF rotation. None if the image cannot be decoded.
        image_fault, label_fault: why the file cannot be used. Empty if it can.
        depth: of an image of more than 8 bits per channel: its significant bits, and how many values 8 bits leave.
        values: {value or color in the label file: number of pixels}. Empty if the label cannot hold classes.
        bands: channels of the label: 1 for class indices, with or without a palette, and 3 for a color image.
    """

    pair: Pair
    image_size: tuple[int, int] | None = None
    image_fault: str = ''
    depth: tuple[int, int] | None = None
    label_size: tuple[int, int] | None = None
    label_fault: str = ''
    values: dict[Value, int] = field(default_factory=dict)
    bands: int = 1


def read_pair(pair: Pair) -> Reading:
    """Decodes both files of a pair. Exceptions become faults of the reading."""
    reading = Reading(pair)  # PIL raises an error for a truncated JPEG; cv2 fills it silently
    try:
        with Image.open(pair.image) as image:
            deep = image.mode[0] in 'IF' or ';16' in str(image.tile)  # PIL itself reads 16-bit colors as 8 bits
            image.load()
            rotated = image.getexif().get(EXIF_ORIENTATION) in ROTATED
            reading.image_size = image.size[::-1] if rotated else image.size
        reading.depth = _depth(pair.image) if deep else None
    except Exception as error:
        reading.image_fault = _describe(error, pair.image)
    if pair.label:
        try:
            with Image.open(pair.label) as label:
                label.load()
                reading.label_size, reading.bands = label.size, len(label.getbands())
                if label.format == 'JPEG':
                    reading.label_fault = 'a JPEG: lossy compression changes class indices'
                elif reading.bands != 2:
                    values = count_values(np.asarray(label)[..., :3] if reading.bands > 1 else np.asarray(label))
                    reading.values = values if reading.bands == 1 or len(values) <= MAX_COLORS else {}
        except Exception as error:
            reading.label_fault = _describe(error, pair.label)
    return reading


def _depth(path: str) -> tuple[int, int] | None:
    """(significant bits, values that 8 bits leave) of an image of more than 8 bits per channel; None for others."""
    whole, loaded = cv2.imread(path, cv2.IMREAD_UNCHANGED), cv2.imread(path, cv2.IMREAD_COLOR)
    if whole is None or loaded is None or whole.dtype == np.uint8:
        return None
    bits = int(whole.max()).bit_length() if whole.dtype.kind in 'iu' else 8 * whole.itemsize
    return bits, len(count_values(loaded.reshape(1, -1)))


def read_pairs(
    pairs: Sequence[Pair], probes: dict[str, Probe], seconds: float | None, workers: int
) -> Iterator[Reading]:
    """Decodes pairs, and yields each reading as soon as it is available.

    Pairs with an incomplete file come first and are always decoded. The others follow in a fixed random order; none of
    them is started after `seconds`. With 0 workers, this process decodes.
    """

    def complete(pair: Pair) -> bool:
        return all(probes[path].complete for path in (pair.image, pair.label) if path)

    start = time.monotonic()
    others = [pair for pair in pairs if complete(pair)]
    random.Random(0).shuffle(others)
    in_time = takewhile(lambda _: seconds is None or time.monotonic() - start < seconds, others)
    todo = chain([pair for pair in pairs if not complete(pair)], in_time)
    if workers == 0:
        yield from map(read_pair, todo)
        return
    with ProcessPoolExecutor(workers, initializer=_ignore_interrupts) as pool:
        running = {pool.submit(read_pair, pair) for pair in islice(todo, 4 * workers)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            running |= {pool.submit(read_pair, pair) for pair in islice(todo, len(done))}
            for future in done:
                yield future.result()


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes, but the parent handles it


def _describe(error: Exception, path: str) -> str:
    """The reason why a file cannot be decoded, for a finding."""
    if isinstance(error, UnidentifiedImageError):
        with open(path, 'rb') as file:
            return 'not an image file' if file.read(1) else '0 bytes'
    return getattr(error, 'strerror', None) or str(error) or type(error).__name__
