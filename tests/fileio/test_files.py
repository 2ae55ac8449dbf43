"""Configs and checkpoints of the package are found from any working directory."""

import os.path as osp
from collections import Counter
from glob import glob

import pytest
import tiny
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import MODELS, VISUALIZERS

from mmseg_bpkd.fileio import package_files as files
from mmseg_bpkd.fileio.checkpoint import read_checkpoint
from mmseg_bpkd.fileio.package_files import find_checkpoint, find_config, load_config_file

STUDENT = 'pspnet/pspnet_r18w8_1xb8-600_synthetic-112x112.py'
BPKD = 'bpkd/bpkd_pspnet-r18w16_pspnet-r18w8_1xb8-600_synthetic-112x112.py'


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty working directory."""
    folder = tmp_path / 'elsewhere'
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_the_working_directory_comes_before_the_package(elsewhere):
    assert find_config(f'configs/{STUDENT}') == osp.join(ROOT, 'configs', STUDENT)
    own = elsewhere / 'configs' / STUDENT
    own.parent.mkdir(parents=True)
    own.touch()
    assert find_config(f'configs/{STUDENT}') == f'configs/{STUDENT}'
    assert find_config(f'mmseg_bpkd::{STUDENT}') == osp.join(ROOT, 'configs', STUDENT)


@pytest.mark.parametrize(
    'path', ['tools/train.py', 'mmseg_bpkd/fileio/package_files.py', 'README.md', '/configs/x.py', 'configs']
)
def test_other_paths_are_not_looked_up_in_the_package(path, elsewhere):
    assert find_config(path) == find_checkpoint(path) == path


def test_a_config_of_another_package_is_found():
    assert osp.isfile(find_config(tiny.RESNET18)) and '/mmseg/.mim/configs/' in find_config(tiny.RESNET18)


def test_a_config_can_be_based_on_one_of_the_package(elsewhere):
    (elsewhere / 'own.py').write_text(f"_base_ = 'mmseg_bpkd::{BPKD}'\nmodel = dict(teacher_ckpt='own.pth')")
    expected = Config.fromfile(osp.join(ROOT, 'configs', BPKD))
    expected.model.teacher_ckpt = 'own.pth'
    assert Config.fromfile('own.py').to_dict() == expected.to_dict()


def test_what_comes_from_the_package_is_built_in_the_scope_of_the_config(elsewhere):
    """MMEngine builds what comes from another package's config in a scope of its name, which this package lacks."""
    (elsewhere / 'own.py').write_text(f"_base_ = 'mmseg_bpkd::{STUDENT}'")
    cfg = Config.fromfile('own.py')
    assert '_scope_' not in str(cfg.to_dict())
    assert VISUALIZERS.build(cfg.visualizer).__class__.__name__ == 'SegLocalVisualizer'


def test_a_network_can_name_a_config_of_the_package(elsewhere):
    model = MODELS.build(dict(type='plain_segmentor', cfg_path='mmseg::fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py'))
    assert model.decode_head.num_classes == 19
    with pytest.raises(
        FileNotFoundError, match=r"cfg_path='mmseg_bpkd::nowhere.py': no config mmseg_bpkd::nowhere.py:"
    ):
        MODELS.build(dict(type='plain_segmentor', cfg_path='mmseg_bpkd::nowhere.py'))


def test_a_base_that_does_not_exist_is_named(elsewhere):
    (elsewhere / 'own.py').write_text("_base_ = 'mmseg_bpkd::bpkd/nowhere.py'")
    with pytest.raises(FileNotFoundError, match=r'own.py: _base_ names mmseg_bpkd::bpkd/nowhere.py, but there is no'):
        Config.fromfile('own.py')


def test_another_config_that_does_not_exist_is_named():
    with pytest.raises(
        FileNotFoundError, match='^no config x.py: give the path of a config file, or "package::path" for'
    ):
        load_config_file('x.py')


MISSPELLED = 'mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1025.py'
NEAREST = MISSPELLED.replace('1025', '1024')


def test_a_misspelled_config_gets_the_nearest_one(elsewhere):
    with pytest.raises(
        FileNotFoundError, match=rf'^cfg_path=.*: no config {MISSPELLED}; the nearest is {NEAREST}: give'
    ):
        MODELS.build(dict(type='plain_segmentor', cfg_path=MISSPELLED))
    (elsewhere / 'own.py').write_text(f'_base_ = {MISSPELLED!r}')
    with pytest.raises(FileNotFoundError, match=f'own.py: _base_ names {MISSPELLED}, .*; the nearest is {NEAREST}$'):
        Config.fromfile('own.py')
    with pytest.raises(
        FileNotFoundError, match=f'^no config {elsewhere}/owm.py; the nearest is {elsewhere}/own.py: give'
    ):
        load_config_file(f'{elsewhere}/owm.py')


def test_a_package_that_is_not_installed_is_named():
    with pytest.raises(FileNotFoundError, match=r'^mmsegg:: stands for .*, but no package mmsegg is installed$'):
        load_config_file('mmsegg::x.py')


@pytest.mark.parametrize('package', ['mmsegg', 'mmyolo'])
def test_a_base_of_a_package_that_is_not_installed_names_the_package(package, elsewhere):
    (elsewhere / 'own.py').write_text(f"_base_ = '{package}::fcn/x.py'")
    with pytest.raises(FileNotFoundError, match=f'but no package {package} is installed'):
        load_config_file('own.py')


def test_a_config_that_needs_a_package_names_it(elsewhere):
    """As those of ConvNeXt need MMPretrain, whose message has a line for each folder of the Python path."""
    (elsewhere / 'own.py').write_text("custom_imports = dict(imports='not_there.models')")
    message = (
        r'the custom_imports of own.py need the module not_there, which is not installed: pip install not_there, or'
    )
    with pytest.raises(ImportError, match=f'^{message}'):
        load_config_file('own.py')
    with pytest.raises(ImportError, match=f"^cfg_path='own.py': {message}"):
        MODELS.build(dict(type='plain_segmentor', cfg_path='own.py'))


def test_an_import_that_fails_inside_of_a_module_keeps_its_error(elsewhere, monkeypatch):
    (elsewhere / 'own_module.py').write_text('from json import nothing')
    (elsewhere / 'own.py').write_text("custom_imports = dict(imports='own_module')")
    monkeypatch.syspath_prepend(elsewhere)
    with pytest.raises(ImportError, match='Failed to import custom modules'):
        load_config_file('own.py')


@pytest.mark.parametrize('data', ['camvid', 'synthetic'])
def test_checkpoints_of_the_package_are_read_from_any_folder(data, elsewhere):
    path = f'checkpoints/deeplabv3plus_r18w32_{data}.pth'
    assert 'backbone.layer1.0.conv1.weight' in read_checkpoint(path)['state_dict']
    (elsewhere / 'checkpoints').mkdir()
    torch.save(dict(state_dict={}), path)
    assert read_checkpoint(path) == dict(state_dict={})


def test_a_teacher_of_the_package_is_loaded_from_any_folder(elsewhere, tmp_path, monkeypatch):
    (tmp_path / 'checkpoints').mkdir()
    tiny.save_teacher(tmp_path / 'checkpoints/teacher.pth')
    monkeypatch.setattr(files, 'shipped_root', lambda: str(tmp_path))
    assert tiny.distillation('checkpoints/teacher.pth').teacher_loaded
    with pytest.raises(FileNotFoundError, match=r'no checkpoint checkpoints/other\.pth of the teacher: train it'):
        tiny.distillation('checkpoints/other.pth')


def test_recipes_have_names_of_their_own():
    """`mim train mmseg_bpkd NAME.py` looks for a config by its name alone."""
    leaves = [path for path in glob(osp.join(ROOT, 'configs/**/*.py'), recursive=True) if '/_base_/' not in path]
    assert len(leaves) > 100
    assert [name for name, count in Counter(map(osp.basename, leaves)).items() if count > 1] == []
