"""Decoding images and labels, in several processes and until the time is over."""

import random
import signal
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import chain, islice, takewhile
from typing import Dict, Iterator, Optional, Sequence, Tuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from .files import Pair, Probe

ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)  # an EXIF tag, which cv2 obeys


@dataclass
class Reading:
    """What a pair of files holds. Sizes are (width, height) in pixels.

    Args:
        values: {value in the file of the label: number of pixels}.
        bands: of the label; 1 where it holds class numbers, 3 in a colour picture.
    """

    pair: Pair
    image_size: Optional[Tuple[int, int]] = None
    image_fault: str = ''
    label_size: Optional[Tuple[int, int]] = None
    label_fault: str = ''
    values: Dict[int, int] = field(default_factory=dict)
    bands: int = 1


def read_pair(pair: Pair) -> Reading:
    """Decodes both files to their last byte: cv2 fills up what is missing of a JPEG, and does not say so."""
    reading = Reading(pair)
    try:
        with Image.open(pair.image) as image:
            image.load()
            sideways = image.getexif().get(ORIENTATION) in SIDEWAYS
            reading.image_size = image.size[::-1] if sideways else image.size
    except Exception as error:
        reading.image_fault = _in_words(error, pair.image)
    if pair.label is not None:
        try:
            with Image.open(pair.label) as label:
                label.load()
                reading.label_size, reading.bands = label.size, len(label.getbands())
                if label.format == 'JPEG':
                    reading.label_fault = 'a JPEG: compression changes the numbers of classes'
                elif reading.bands == 1:
                    reading.values = count_values(np.asarray(label))
        except Exception as error:
            reading.label_fault = _in_words(error, pair.label)
    return reading


def count_values(label: np.ndarray) -> Dict[int, int]:
    """{value: number of pixels}."""
    if label.dtype == np.uint8:
        counts = np.bincount(label.ravel(), minlength=256)
        values = counts.nonzero()[0]
        counts = counts[values]
    else:
        values, counts = np.unique(label, return_counts=True)
    return dict(zip((int(value) for value in values), counts.tolist()))


def read_pairs(
    pairs: Sequence[Pair], probes: Dict[str, Probe], seconds: Optional[float], workers: int
) -> Iterator[Reading]:
    """Readings as they come: files that look broken first and in any case, then the others in a fixed random order.

    Args:
        seconds: no file is begun after that; None: all are read.
        workers: processes; 0: this one.
    """

    def sound(pair: Pair) -> bool:
        return all(probes[path].ends for path in (pair.image, pair.label) if path is not None)

    began = time.monotonic()
    others = [pair for pair in pairs if sound(pair)]
    random.Random(0).shuffle(others)
    in_time = takewhile(lambda _: seconds is None or time.monotonic() - began < seconds, others)
    todo = chain([pair for pair in pairs if not sound(pair)], in_time)
    if workers == 0:
        yield from map(read_pair, todo)
        return
    with ProcessPoolExecutor(workers, initializer=_leave_interrupts_to_the_parent) as pool:
        running = {pool.submit(read_pair, pair) for pair in islice(todo, 4 * workers)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            running |= {pool.submit(read_pair, pair) for pair in islice(todo, len(done))}
            for future in done:
                yield future.result()


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _in_words(error: Exception, path: str) -> str:
    if isinstance(error, UnidentifiedImageError):
        with open(path, 'rb') as file:
            return 'not an image file' if file.read(1) else '0 bytes'
    return getattr(error, 'strerror', None) or str(error) or type(error).__name__
