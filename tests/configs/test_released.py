"""Checkpoints in the format that the paper's authors released, of MMSegmentation 0.26 and MMRazor 0.x.

released_students.json holds a digest of the names and shapes of the students' weights. It was computed with
MMSegmentation 0.26.0 from the authors' evaluation configs, without this package.
"""

import hashlib
import json
import os.path as osp

import pytest
import runs
import torch
from conftest import ROOT
from mmengine.config import Config

from mmseg_bpkd.deploy.student import dataset_meta
from mmseg_bpkd.fileio.checkpoint import load_strictly, read_checkpoint, segmentor_state
from mmseg_bpkd.models.roles import student_config
from mmseg_bpkd.models.segmentors import build_segmentor

with open(osp.join(ROOT, 'tests/released_students.json')) as file:
    RELEASED = json.load(file)


def student(config: str):
    return build_segmentor(student_config(Config.fromfile(osp.join(ROOT, 'configs', config)).model))


def digest(state: dict) -> str:
    lines = [f'{key} {tuple(value.shape)}' for key, value in sorted(state.items())]
    return hashlib.sha256('\n'.join(lines).encode()).hexdigest()


def released(state: dict) -> dict:
    """A checkpoint as MMRazor 0.x wrote it: the student one level deeper than today, the teacher in the distiller."""
    return dict(
        meta=dict(epoch=1, iter=80000, mmseg_version='0.26.0', CLASSES=['road', 'car'], PALETTE=[[0, 0, 0], [9, 9, 9]]),
        state_dict={f'architecture.model.{key}': value for key, value in state.items()}
        | {f'distiller.teacher.model.{key}': value + 1 for key, value in list(state.items())[:3]},
    )


@pytest.mark.parametrize('config', RELEASED)
def test_a_released_student_has_the_names_and_shapes_of_its_config(config):
    state = student(config).state_dict()
    assert len(state) == RELEASED[config]['weights'] and digest(state) == RELEASED[config]['sha256']


@pytest.mark.parametrize('layout', ['as trained', 'the student alone'])
@pytest.mark.parametrize('config', [config for config in RELEASED if 'cityscapes' in config])
def test_a_released_checkpoint_loads_into_its_config(config, layout, tmp_path):
    torch.manual_seed(1)
    state = student(config).state_dict()
    torch.save(released(state) if layout == 'as trained' else dict(state_dict=state), tmp_path / 'released.pth')
    torch.manual_seed(2)
    model = student(config)
    loaded = read_checkpoint(str(tmp_path / 'released.pth'))
    load_strictly(model, segmentor_state(loaded, model, 'released.pth'), 'released.pth')
    assert runs.same(model.state_dict(), state)


@pytest.mark.slow
def test_a_released_checkpoint_is_exported_by_the_config_of_its_distillation(tmp_path):
    config = osp.join(ROOT, 'configs/bpkd/bpkd_pspnet-r101_pspnet-r18_4xb4-80k_ade20k-512x512.py')
    state = student(config).state_dict()
    torch.save(released(state), tmp_path / 'released.pth')
    runs.call('export_student.py', config, tmp_path / 'released.pth', tmp_path / 'student.pth')
    exported = torch.load(tmp_path / 'student.pth')
    assert runs.same(exported['state_dict'], state)
    assert exported['meta']['dataset_meta'] == dict(classes=('road', 'car'), palette=[[0, 0, 0], [9, 9, 9]])


@pytest.mark.slow
def test_a_narrower_student_is_exported_with_the_options_of_its_run(tmp_path):
    narrow = 'deeplabv3plus/deeplabv3plus_mv2-narrow_4xb4-80k_cityscapes-512x1024.py'
    torch.save(released(student(narrow).state_dict()), tmp_path / 'released.pth')
    config = 'configs/bpkd/bpkd_deeplabv3plus-r101_deeplabv3plus-mv2_4xb4-80k_cityscapes-512x1024.py'
    runs.call(
        'export_student.py',
        osp.join(ROOT, config),
        tmp_path / 'released.pth',
        tmp_path / 'student.pth',
        '--cfg-options',
        'model.student.decode_head.channels=128',
        'model.student.auxiliary_head.channels=64',
    )
    assert digest(torch.load(tmp_path / 'student.pth')['state_dict']) == RELEASED[narrow]['sha256']


@pytest.mark.parametrize(('metainfo', 'count'), [({}, 150), (dict(classes=('a', 'b'), palette=[[1] * 3, [2] * 3]), 2)])
def test_without_names_in_the_checkpoint_they_are_the_configs_or_the_data_sets(metainfo, count):
    cfg = Config(dict(test_dataloader=dict(dataset=dict(type='ADE20KDataset', metainfo=metainfo))))
    assert len(dataset_meta(cfg, dict(state_dict={}))['classes']) == count


def test_classes_that_nobody_names_are_an_error():
    cfg = Config(dict(test_dataloader=dict(dataset=dict(type='BaseSegDataset'))))
    with pytest.raises(ValueError, match='neither the checkpoint nor BaseSegDataset has the names and colors of the'):
        dataset_meta(cfg, dict(state_dict={}))
