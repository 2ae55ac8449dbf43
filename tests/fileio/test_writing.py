"""Files are complete or absent, an old file stays until then, and an error names the file."""

import errno
import json
import os

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from mmseg_bpkd.engine.hooks.atomic_checkpoint import AtomicLocalBackend
from mmseg_bpkd.fileio import writing

FULL = '/dev/full'  # each write to it fails as on a full disk
needs_full_device = pytest.mark.skipif(not os.path.exists(FULL), reason=f'this system has no {FULL}')


def test_each_kind_of_file_is_written_whole_into_folders_that_are_made(tmp_path):
    folder = tmp_path / 'a/b'
    picture = np.arange(300, dtype=np.uint16).reshape(15, 20)
    writing.write_text(str(folder / 'x.txt'), 'ä')
    writing.write_json(str(folder / 'x.json'), dict(a=[1]))
    writing.write_png(str(folder / 'x.png'), picture)
    assert (folder / 'x.txt').read_bytes() == b'\xc3\xa4'
    assert json.loads((folder / 'x.json').read_text()) == dict(a=[1])
    assert (cv2.imread(str(folder / 'x.png'), cv2.IMREAD_UNCHANGED) == picture).all()
    assert sorted(os.listdir(folder)) == ['x.json', 'x.png', 'x.txt']


@needs_full_device
@pytest.mark.parametrize(
    'write', [writing.write_text, writing.write_json, lambda path, text: AtomicLocalBackend().put_text(text, path)]
)
def test_a_full_disk_is_named_and_leaves_the_old_file_and_no_part_of_the_new_one(tmp_path, write):
    path = str(tmp_path / 'x.json')
    writing.write_text(path, 'old')
    os.symlink(FULL, f'{path}.part')
    with pytest.raises(OSError, match=f'^the disk is full: cannot write {path}$') as error:
        write(path, 'new')
    assert error.value.errno == errno.ENOSPC and error.value.filename == path
    assert os.listdir(tmp_path) == ['x.json'] and open(path).read() == 'old'


def test_an_error_or_an_interruption_while_a_file_is_written_leaves_the_old_one(tmp_path):
    path = str(tmp_path / 'x')
    writing.write_text(path, 'old')
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), writing.replacing(path) as part:
            open(part, 'w').write('half')
            raise error
    assert os.listdir(tmp_path) == ['x'] and open(path).read() == 'old'


def test_a_link_is_replaced_and_what_it_points_to_stays(tmp_path):
    (tmp_path / 'precious').write_text('old')
    (tmp_path / 'link').symlink_to('precious')
    writing.write_text(str(tmp_path / 'link'), 'new')
    assert (tmp_path / 'precious').read_text() == 'old' and (tmp_path / 'link').read_text() == 'new'


def test_a_device_is_written_to_and_not_replaced(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    reader = os.open(tmp_path / 'pipe', os.O_RDONLY | os.O_NONBLOCK)
    writing.check_writable(str(tmp_path / 'pipe'))
    writing.write_text(str(tmp_path / 'pipe'), 'text')
    assert os.read(reader, 10) == b'text' and os.listdir(tmp_path) == ['pipe']
    os.close(reader)


def test_a_file_that_cannot_be_written_is_found_before_and_nothing_is_left(tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('old')
    folder = str(tmp_path / 'folder')
    os.mkdir(folder)
    for path, reason in ((f'{tmp_path}/file/x.json', '(Not a directory|File exists)'), (folder, 'it is a folder')):
        for write in (writing.check_writable, lambda path: writing.write_text(path, '')):
            with pytest.raises(OSError, match=f'^cannot write {path}: {reason}$'):
                write(path)
    writing.check_writable(str(tmp_path / 'file'), f'{folder}/x.json')
    assert (tmp_path / 'file').read_text() == 'old' and not os.listdir(folder)


@needs_full_device
def test_a_full_disk_is_found_before(tmp_path, monkeypatch):
    monkeypatch.setattr(writing.tempfile, 'TemporaryFile', lambda dir: open(FULL, 'wb'))
    with pytest.raises(OSError, match=f'the disk is full: cannot write {tmp_path}/x.json'):
        writing.check_writable(f'{tmp_path}/x.json')


def test_a_dollar_in_a_figure_is_a_dollar(tmp_path):
    figure = Figure()
    axis = figure.subplots()
    axis.plot([1, 2], label='$\\x$')
    axis.set_title('$a_{$')
    axis.set_xticks([0, 1], ['$^$', '$'])
    figure.legend()
    writing.save_figure(figure, str(tmp_path / 'x.png'), dpi=50)
    assert cv2.imread(str(tmp_path / 'x.png')).shape == (240, 320, 3)
