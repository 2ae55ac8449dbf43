"""`bpkd test`: what it writes, and when it finds that it cannot."""

import json
import os

import cv2
import pytest
import runs
import torch
from mmengine.config import Config
from mmengine.visualization import Visualizer
from mmseg.visualization import SegLocalVisualizer

from mmseg_bpkd.evaluation import evaluate as module
from mmseg_bpkd.evaluation import metrics
from mmseg_bpkd.models.roles import student_config
from mmseg_bpkd.models.segmentors import build_segmentor


@pytest.fixture
def run(tmp_path, monkeypatch) -> list:
    """The arguments of a test of two images, in the working directory of `bpkd`."""
    for kind in (Visualizer, SegLocalVisualizer):  # MMEngine keeps their folders for all runs of a process
        monkeypatch.setattr(kind, '_instance_dict', type(kind._instance_dict)())
    config = runs.write_config(tmp_path)
    student = build_segmentor(student_config(Config.fromfile(config).model))
    torch.save(dict(state_dict=student.state_dict()), tmp_path / 'student.pth')
    options = ['--work-dir', 'work', '--cfg-options', 'test_dataloader.dataset.num_scenes=2', 'log_level=ERROR']
    return ['test', config, 'student.pth', *options]


@pytest.mark.parametrize('option', ['--out', '--per-image', '--show-dir'])
def test_a_place_that_cannot_be_written_is_found_before_the_test(bpkd, run, option, monkeypatch):
    monkeypatch.setattr(module, 'evaluate', None)  # not reached
    error = bpkd(*run, option, 'student.pth/x')
    assert error.startswith('error: cannot write student.pth/x')


@pytest.mark.slow
def test_a_disk_that_fills_up_during_the_test_leaves_the_earlier_results(bpkd, run):
    written = ['--out', 'new/results.json', '--per-image', 'counts.npz']
    assert not bpkd(*run, *written)
    before = open('new/results.json').read()
    assert set(json.loads(before)) == {'config', 'checkpoint', 'metrics', 'per_class'}
    assert len(metrics.load_counts('counts.npz')['images']) == 2
    for path in ('new/results.json', 'counts.npz'):
        os.symlink('/dev/full', f'{path}.part')  # each write to it fails as on a full disk
        assert bpkd(*run, *written) == f'error: the disk is full: cannot write {path}'
    assert open('new/results.json').read() == before and os.listdir('new') == ['results.json']


def pictures(folder: str) -> list:
    return sorted(os.path.join(place, name) for place, _, names in os.walk(folder) for name in names if '.png' in name)


def test_a_picture_on_a_full_disk_is_an_error_and_no_part_of_it_is_left(bpkd, run):
    assert not bpkd(*run, '--show-dir', 'pictures')
    first, _ = pictures('pictures')
    os.symlink('/dev/full', f'{first}.part')
    os.remove(first)
    assert bpkd(*run, '--show-dir', 'pictures') == f'error: the disk is full: cannot write {first}'
    assert not os.path.lexists(first) and not os.path.lexists(f'{first}.part')


def test_pictures_of_augmented_tests_show_each_image_once(bpkd, run):
    assert not bpkd(*run, '--tta', '--show-dir', 'pictures', '--out', 'tta.json')
    drawn = [cv2.imread(path) for path in pictures('pictures')]
    assert [picture.shape[0] for picture in drawn] == [120, 120] and (drawn[0] != drawn[1]).any()
    assert json.load(open('tta.json'))['metrics']['mIoU'] >= 0
