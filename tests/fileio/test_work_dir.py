"""Work directories: the last checkpoint, the lock, and names that cannot be used."""

import multiprocessing
import os
import signal
import subprocess
import sys

import pytest

from mmseg_bpkd.fileio import work_dir
from mmseg_bpkd.fileio.work_dir import WorkDirInUse, check_name, last_checkpoint, only_process


def touch(folder, *names) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


@pytest.mark.parametrize(
    'content', [None, b'', b'\n', b'\xff\xfe\x00\x80', b'iter_9.pth', b'/elsewhere/iter_9.pth', b'.']
)
def test_without_a_usable_name_the_newest_checkpoint_is_the_last(content, tmp_path):
    touch(tmp_path, 'iter_4.pth', 'iter_10.pth', 'iter_12.pth.part', 'epoch_20.pth', 'best_mIoU_iter_30.pth', 'a40.pth')
    if content is not None:
        (tmp_path / 'last_checkpoint').write_bytes(content)
    assert last_checkpoint(str(tmp_path)) == str(tmp_path / 'iter_10.pth')


@pytest.mark.parametrize(
    ('stored', 'expected'),
    [
        ('run/iter_4.pth', 'run/iter_4.pth'),  # not the newest: the next one may have been written without its name
        ('moved/iter_4.pth', 'run/iter_4.pth'),
        ('out/iter_6.pth', 'out/iter_6.pth'),
        ('elsewhere/iter_8.pth', 'elsewhere/iter_8.pth'),
    ],
)
def test_the_named_checkpoint_is_looked_for_in_the_folder_first(stored, expected, tmp_path):
    touch(tmp_path / 'run', 'iter_4.pth', 'iter_5.pth')
    touch(tmp_path / 'out', 'iter_6.pth')
    touch(tmp_path / 'elsewhere', 'iter_8.pth')
    (tmp_path / 'run/last_checkpoint').write_text(str(tmp_path / stored))
    assert last_checkpoint(str(tmp_path / 'run'), str(tmp_path / 'out')) == str(tmp_path / expected)


def test_the_newest_checkpoint_is_in_the_folder_of_the_checkpoints(tmp_path):
    touch(tmp_path / 'out', 'iter_6.pth')
    assert last_checkpoint(str(tmp_path / 'run'), str(tmp_path / 'out')) == str(tmp_path / 'out/iter_6.pth')
    assert last_checkpoint(str(tmp_path / 'run')) is None


def test_a_checkpoint_on_another_storage_is_not_looked_for_here(tmp_path):
    touch(tmp_path, 'iter_4.pth')
    (tmp_path / 'last_checkpoint').write_text('s3://bucket/iter_9.pth')
    assert last_checkpoint(str(tmp_path)) == 's3://bucket/iter_9.pth'


def lock_refused(folder: str) -> str:
    """Tries to lock a folder. Returns the error, or ''."""
    try:
        with only_process(folder):
            return ''
    except WorkDirInUse as error:
        return str(error)


def in_another_process(folder) -> str:
    with multiprocessing.get_context('fork').Pool(1) as pool:
        return pool.apply(lock_refused, [str(folder)])


def test_one_process_at_a_time_works_in_a_folder(tmp_path):
    folder = tmp_path / 'new'
    with only_process(str(folder)):
        message = in_another_process(folder)
        assert f'another process is training in {folder} (process {os.getpid()} on ' in message
        assert in_another_process(tmp_path / 'other') == ''
    assert in_another_process(folder) == ''


@pytest.mark.slow
def test_a_killed_process_leaves_no_lock(tmp_path):
    """Also if its data loader workers live on."""
    code = f"""
import os, time
from mmseg_bpkd.fileio.work_dir import only_process
with only_process({str(tmp_path)!r}):
    worker = os.fork()
    if worker:
        print(worker, flush=True)
    time.sleep(60)
"""
    holder = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True)
    worker = int(holder.stdout.readline())
    try:
        assert lock_refused(str(tmp_path))
        holder.kill()
        holder.wait()
        os.kill(worker, 0)  # still there
        assert lock_refused(str(tmp_path)) == ''
    finally:
        holder.kill()
        os.kill(worker, signal.SIGKILL)


def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch):
    said = []

    def fail(*_):
        raise OSError(38, 'Function not implemented')

    monkeypatch.setattr(work_dir.fcntl, 'lockf', fail)
    monkeypatch.setattr(work_dir, 'print_log', lambda message, **_: said.append(message))
    with only_process(str(tmp_path)):
        assert len(said) == 1 and 'Function not implemented' in said[0]


def test_the_path_of_a_work_directory_must_be_text(tmp_path, monkeypatch):
    check_name('Übung/学生')
    broken = os.fsencode(tmp_path) + b'/run\xff'
    with pytest.raises(ValueError, match=r"run\\xff', is not UTF-8: rename the folder") as error:
        check_name(os.fsdecode(broken))
    str(error.value).encode()  # can be printed
    os.mkdir(broken)
    monkeypatch.chdir(broken)
    with pytest.raises(ValueError, match='is not UTF-8'):
        check_name('work_dirs/run')
