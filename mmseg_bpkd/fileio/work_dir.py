"""Work directories: the lock that keeps a second training out, the last checkpoint, and names that cannot be used."""

import errno
import fcntl
import os
import os.path as osp
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from mmengine.logging import print_log

LOCK = '.lock'
LAST = 'last_checkpoint'  # MMEngine's name of the file that holds the path of the last checkpoint
NUMBERED = re.compile(r'(iter|epoch)_(\d+)\.pth')


class WorkDirInUse(RuntimeError):
    """Another process is training in the work directory."""


@contextmanager
def only_process(folder: str) -> Iterator[None]:
    """Locks a work directory, so that no other process trains in it. The folder is created if it does not exist.

    The system unlocks it when this process ends, even if it is killed. Do not lock a folder twice in a process: the end
    of the inner lock would end both.

    Raises:
        WorkDirInUse: if another process has locked the folder.
    """
    os.makedirs(folder, exist_ok=True)
    with open(osp.join(folder, LOCK), 'a+', encoding='utf-8', errors='replace') as file:
        try:
            _lock(file)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                file.seek(0)
                raise WorkDirInUse(
                    f'another process is training in {folder} ({file.readline().strip()}): wait for it or end it, then '
                    'start again, or choose another folder'
                ) from None
            # Some network file systems have no locks.
            print_log(f'cannot lock {folder} ({error}): start no second training in it', logger='current', level=30)
        else:
            file.truncate(0)
            file.write(f'process {os.getpid()} on {socket.gethostname()}\n')
            file.flush()
        yield


def _lock(file: IO) -> None:
    for attempt in range(5):
        try:
            # Unlike flock, data loader workers do not inherit it.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError:
            if attempt == 4:
                raise
        time.sleep(0.2)  # `is_in_use` of another process holds the lock for a moment


def is_in_use(folder: str) -> bool:
    """Whether another process has locked a folder with `only_process`."""
    try:
        with open(osp.join(folder, LOCK), 'r+') as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EACCES, errno.EAGAIN)
    return False


def last_checkpoint(folder: str, out_dir: str | None = None) -> str | None:
    """Returns the path of the last checkpoint of a run, which may not exist; None if there is none.

    MMEngine stores the absolute path. After the folder was moved or copied, that is not the file in this folder. If
    it stored none, or that is no file, the last one is the `iter_N.pth` with the highest number.

    Args:
        folder: work directory of the run.
        out_dir: where its checkpoints are, if that is another folder.
    """
    path = _stored_path(folder)
    here = [osp.join(place, osp.basename(path)) for place in (folder, out_dir) if place]
    found = next(filter(osp.isfile, [*here, path]), None)
    return found or (None if '://' in path else _newest(out_dir or folder)) or path or None


def _newest(folder: str) -> str | None:
    names = map(NUMBERED.fullmatch, os.listdir(folder) if osp.isdir(folder) else [])
    name = max(filter(None, names), key=lambda name: (name[1], int(name[2])), default=None)  # iter_ is after epoch_
    return name and osp.join(folder, name[0])


def _stored_path(folder: str) -> str:
    """The content of `last_checkpoint`; '' if it is missing or damaged."""
    stored = osp.join(folder, LAST)
    if not osp.isfile(stored):
        return ''
    with open(stored, 'rb') as file:
        path = os.fsdecode(file.read(2**16)).strip()
    return '' if any(ord(character) < 32 for character in path) else path


def check_name(folder: str) -> None:
    """Checks that the path of a folder is text, which MMEngine writes into configs and logs.

    Raises:
        ValueError: if it is not UTF-8.
    """
    path = osp.abspath(folder)
    try:
        path.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f'the path of the work directory, {os.fsencode(path)!r}, is not UTF-8: rename the folder, or choose '
            'another one'
        ) from None
