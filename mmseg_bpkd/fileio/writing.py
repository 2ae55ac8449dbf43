"""Writes files that are complete or absent: under a temporary name first, then renamed."""

import errno
import io
import json
import os
import os.path as osp
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

PARTIAL = '.part'  # suffix of a file that is being written
FULL = (errno.ENOSPC, errno.EDQUOT)
PROBE = bytes(4096)  # a full disk still takes an empty file


class WriteError(OSError):
    """A file that cannot be written. The text is a sentence that names it."""

    def __str__(self) -> str:
        reason = 'the disk is full: ' if self.errno in FULL else ''
        return f'{reason}cannot write {self.filename}' + ('' if reason else f': {self.strerror}')


@contextmanager
def replacing(path: str, flush: bool = True) -> Iterator[str]:
    """Yields a temporary name beside a file. What was written there gets the file's name.

    Missing folders are made. If anything fails, the temporary file is deleted and an old file stays. A symbolic link is
    replaced, not followed. What is not a file, such as /dev/stdout, is written to directly.

    Args:
        path: the file.
        flush: whether to wait until the disk has it, so that it survives a power cut.

    Raises:
        WriteError: if the system cannot write the file.
    """
    if _is_device(path):
        with _named(path):
            yield path
        return
    part = f'{path}{PARTIAL}'
    try:
        with _named(path):
            _check_folder(path)
            yield part
            if flush:
                _flush(part)
            os.replace(part, path)
            if flush:
                _flush(osp.dirname(path) or '.')  # flushes the renaming
    finally:
        with suppress(OSError):
            os.remove(part)


def write_bytes(path: str, content: bytes | memoryview) -> None:
    """Writes a file, see `replacing`."""
    with replacing(path) as part, open(part, 'wb') as file:
        file.write(content)


def write_text(path: str, text: str) -> None:
    """Writes a file in UTF-8, see `replacing`."""
    write_bytes(path, text.encode())


def write_json(path: str, value: Any) -> None:
    """Writes a JSON file, see `replacing`."""
    write_text(path, json.dumps(value, indent=2) + '\n')


def write_png(path: str, picture: 'np.ndarray') -> None:
    """Writes a picture, (H, W) or (H, W, 3) BGR, of uint8 or uint16, see `replacing`."""
    import cv2

    write_bytes(path, cv2.imencode('.png', picture)[1].data)


def save_figure(figure: 'Figure', path: str, **options: Any) -> None:
    """Writes a figure of matplotlib, see `replacing`. A $ in its texts is a dollar sign, not the start of a formula.

    Args:
        options: of `Figure.savefig`.
    """
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)
    content = io.BytesIO()
    figure.savefig(content, format=osp.splitext(path)[1][1:] or None, **options)
    write_bytes(path, content.getbuffer())


def check_writable(*paths: str) -> None:
    """Checks that files can be written, before a computation whose result would be lost.

    Missing folders are made. An old file stays.

    Raises:
        WriteError: for the first one that cannot.
    """
    for path in paths:
        if _is_device(path):
            continue
        with _named(path):
            _check_folder(path)
            with tempfile.TemporaryFile(dir=osp.dirname(path) or '.') as file:
                file.write(PROBE)
                file.flush()
                os.fsync(file.fileno())


@contextmanager
def _named(path: str) -> Iterator[None]:
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        raise WriteError(error.errno, error.strerror or str(error), path) from error


def _is_device(path: str) -> bool:
    return osp.exists(path) and not osp.isfile(path) and not osp.isdir(path)


def _check_folder(path: str) -> None:
    if osp.isdir(path):
        raise IsADirectoryError(errno.EISDIR, 'it is a folder')
    os.makedirs(osp.dirname(path) or '.', exist_ok=True)


def _flush(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
