"""`bpkd export`: what it refuses, and what it leaves on the disk when it fails."""

import json
import os
import os.path as osp
import sys
from unittest import mock

import pytest
import runs
import torch
from conftest import ROOT
from mmengine.config import Config
from mmseg.apis import init_model

from mmseg_bpkd.deploy import onnx as deploy
from mmseg_bpkd.deploy.student import dataset_meta, export_student, plain_config
from mmseg_bpkd.evaluation import evaluate
from mmseg_bpkd.fileio.checkpoint import read_checkpoint
from mmseg_bpkd.models.roles import student_config
from mmseg_bpkd.models.segmentors import build_segmentor


@pytest.fixture
def run(tmp_path):
    """In the working directory of `bpkd`: a config, bpkd_own.py with the base config.py, and a checkpoint, last.pth."""
    config = runs.write_config(tmp_path)
    (tmp_path / 'bpkd_own.py').write_text("_base_ = 'config.py'\n")
    model = build_segmentor(student_config(Config.fromfile(config).model))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'last.pth')


@pytest.mark.parametrize(
    ('out', 'options', 'kept'),
    [
        ('bpkd_own.pth', [], 'bpkd_own.py'),
        ('bpkd_own.pth', ['--method', 'cwd'], 'bpkd_own.py'),
        ('./config.pth', [], 'config.py'),
        ('last.pth', [], 'last.pth'),
    ],
)
def test_an_export_does_not_overwrite_what_it_reads(bpkd, run, tmp_path, out, options, kept):
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    error = bpkd('export', 'bpkd_own.py', 'last.pth', out, *options)
    assert error.startswith('error: the export would overwrite ') and f'{kept}, which is the given' in error
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before


def test_an_export_does_not_overwrite_the_config_of_a_network_or_of_a_method(bpkd, run, tmp_path):
    plain_config(Config.fromfile('config.py')).dump('network.py')
    text = "_base_ = 'config.py'\nmodel = dict(student=dict(_delete_=True, cfg_path='network.py'))\n"
    (tmp_path / 'named.py').write_text(text)
    (tmp_path / 'method.py').write_text('distiller = dict(losses=dict())\n')
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    error = bpkd('export', 'named.py', 'last.pth', 'network.pth')
    assert error.startswith('error: the export would overwrite network.py')
    error = bpkd('export', 'bpkd_own.py', 'last.pth', 'method.pth', '--method', 'method.py')
    assert error.startswith('error: the export would overwrite method.py')
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before


def test_an_exported_config_imports_what_its_config_imported():
    cfg = Config.fromfile(osp.join(ROOT, 'configs', runs.DEMO))
    cfg.custom_imports = dict(imports=['my_backbone', 'mmseg_bpkd.engine'], allow_failed_imports=False)
    exported = plain_config(cfg).custom_imports
    assert exported == dict(imports=['mmseg_bpkd.engine', 'my_backbone'], allow_failed_imports=True)


def test_an_exported_config_has_the_pipeline_of_the_test_data():
    cfg = Config.fromfile(osp.join(ROOT, 'configs', runs.DEMO))
    cfg.test_dataloader.dataset = dict(type='ConcatDataset', datasets=[cfg.test_dataloader.dataset])
    cfg.test_dataloader.dataset.datasets[0].pipeline.insert(1, dict(type='Resize', scale=(64, 48)))
    exported = plain_config(cfg)
    assert exported.test_pipeline[1] == dict(type='Resize', scale=(64, 48))
    assert exported.test_pipeline == exported.test_dataloader.dataset.datasets[0].pipeline


@pytest.mark.parametrize(
    ('link', 'out'),
    [
        (lambda: os.symlink('.', 'same'), 'same/last.pth'),
        (lambda: os.symlink('.', 'same'), 'same/bpkd_own.pth'),
        (lambda: os.symlink('last.pth', 'x.pth'), 'x.pth'),
        (lambda: os.link('last.pth', 'x.pth'), 'x.pth'),
        (lambda: os.symlink('last.pth', 'x.onnx'), 'x.onnx'),
        (lambda: os.symlink('config.py', 'x.py'), 'x.pth'),
        (lambda: None, 'teacher.pth'),  # which the config names
    ],
)
def test_an_export_does_not_overwrite_what_it_reads_under_another_name(bpkd, run, tmp_path, link, out):
    link()
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir() if osp.isfile(name)}
    options = ['--format', 'onnx'] if out.endswith('.onnx') else []
    error = bpkd('export', 'bpkd_own.py', 'last.pth', out, *options)
    assert error.startswith('error: the export would overwrite ') and 'which is the given' in error
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir() if osp.isfile(name)} == before


@pytest.mark.parametrize(('name', 'out'), [('mynet.py', 'mynet.pth'), ('other.pth', 'other.pth')])
def test_an_export_overwrites_no_file_that_is_not_of_an_earlier_export(bpkd, run, tmp_path, name, out):
    (tmp_path / name).write_text('x = 1\n')
    before = set(os.listdir())
    options = ['--cfg-options', '+custom_imports.imports=[mynet]'] if name == 'mynet.py' else []
    error = bpkd('export', 'bpkd_own.py', 'last.pth', out, *options)
    assert error.startswith(f'error: the export would overwrite {name}, which is not of an earlier export')
    assert (tmp_path / name).read_text() == 'x = 1\n' and set(os.listdir()) == before


@pytest.mark.parametrize('fails', ['x.pth', 'x.py'])
def test_a_full_disk_leaves_the_earlier_student(bpkd, run, tmp_path, fails):
    assert not bpkd('export', 'bpkd_own.py', 'last.pth', 'x.pth', '--half')
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir() if osp.isfile(name)}
    os.symlink('/dev/full', f'{fails}.part')  # each write to it fails as on a full disk
    assert bpkd('export', 'bpkd_own.py', 'last.pth', 'x.pth') == f'error: the disk is full: cannot write {fails}'
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir() if osp.isfile(name)} == before


@pytest.mark.parametrize('out', ['last.pth/x.pth', 'last.pth/x.onnx'])
def test_a_place_that_cannot_be_written_is_found_before_the_checkpoint_is_read(bpkd, run, out):
    options = ['--format', 'onnx', '--size', '32', '32'] if out.endswith('.onnx') else []
    error = bpkd('export', 'bpkd_own.py', 'last.pth', out, *options)
    assert error.startswith(f'error: cannot write {out}: ')


def test_an_export_overwrites_an_earlier_one(bpkd, run, tmp_path):
    for _ in range(2):
        assert not bpkd('export', 'bpkd_own.py', 'last.pth', 'student.pth')
    assert Config.fromfile('student.py').model.type == 'EncoderDecoder'


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['nowhere.pth', 'x.pth'], 'error: no checkpoint nowhere.pth'),
        (['teacher.pth', 'x.pth'], 'error: teacher.pth is not a checkpoint of this EncoderDecoder'),
        (['nowhere.pth', 'x.onnx', '--format', 'onnx'], 'error: no checkpoint nowhere.pth'),
    ],
)
def test_a_mistake_ends_with_one_line(bpkd, run, arguments, message):
    assert bpkd('export', 'bpkd_own.py', *arguments).startswith(message)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['x.onnx', '--half'], '--half and --safetensors are for --format pytorch'),
        (['x.onnx', '--safetensors'], '--half and --safetensors are for --format pytorch'),
        (['x.pth'], 'the exported file must be named *.onnx, got x.pth'),
        (['x.onnx', '--opset', 'x'], 'invalid int value'),
    ],
)
def test_options_that_do_not_fit_the_format_are_refused(bpkd, capsys, arguments, message):
    assert bpkd('export', 'c.py', 'x.pth', *arguments, '--format', 'onnx') == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['x.pth', '--safetensors'], 'must be named *.safetensors, got x.pth'),
        (['x.safetensors'], 'must be named *.pth, got x.safetensors, or add --safetensors'),
    ],
)
def test_the_suffix_fits_the_kind_of_checkpoint(bpkd, capsys, arguments, message):
    assert bpkd('export', 'c.py', 'x.pth', *arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize('half', [False, True])
def test_an_export_as_safetensors_holds_what_the_other_holds(bpkd, run, tmp_path, half):
    pytest.importorskip('safetensors')
    options = ['--half'] * half
    bpkd('export', 'bpkd_own.py', 'last.pth', 'plain.pth', *options)
    bpkd('export', 'bpkd_own.py', 'last.pth', 'safe.safetensors', '--safetensors', *options)
    plain, safe = (read_checkpoint(name) for name in ('plain.pth', 'safe.safetensors'))
    assert runs.same(plain['state_dict'], safe['state_dict'])
    assert json.loads(json.dumps(plain['meta']['dataset_meta'])) == safe['meta']['dataset_meta']
    texts = [(tmp_path / name).read_text().partition('\n')[2] for name in ('plain.py', 'safe.py')]  # without the name
    assert texts[0] == texts[1]
    model = init_model('safe.py', 'safe.safetensors', device='cpu')  # by MMSegmentation
    assert len(model.dataset_meta['classes']) == 9
    bpkd('export', 'safe.py', 'safe.safetensors', 'again.pth')
    assert runs.same(read_checkpoint('again.pth')['state_dict'], model.state_dict())


def test_without_safetensors_one_sentence_says_what_to_install(bpkd, run, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'safetensors', None)
    error = bpkd('export', 'bpkd_own.py', 'last.pth', 'x.safetensors', '--safetensors')
    assert error.startswith('error: ') and error.endswith("pip install 'mmseg-bpkd[safetensors]'") and '\n' not in error
    assert not (tmp_path / 'x.safetensors').exists() and not (tmp_path / 'x.py').exists()


@pytest.mark.parametrize(
    'meta',
    [
        dict(classes='abc', palette=[[1, 2, 3]] * 3),
        dict(classes=3, palette=[[1, 2, 3]]),
        dict(classes=['a', 'b'], palette=[[1, 2, 3]]),
        dict(classes=['a'], palette=[[1, 2]]),
        dict(classes=['a'], palette=['red']),
        dict(classes=[1], palette=[[1, 2, 3]]),
        dict(classes=None, palette=None),
    ],
    ids=str,
)
def test_names_and_colors_of_another_structure_are_an_error_with_the_name_of_the_file(meta):
    with pytest.raises(ValueError, match=r'the classes and the palette of odd\.pth, .* one name and one color'):
        dataset_meta(
            Config.fromfile(osp.join(ROOT, 'configs', runs.DEMO)), dict(meta=dict(dataset_meta=meta)), 'odd.pth'
        )


def test_a_missing_package_and_an_exceeded_tolerance_end_with_one_line(bpkd, run, monkeypatch):
    arguments = ['export', 'bpkd_own.py', 'last.pth', 'x.onnx', '--format', 'onnx', '--size', '32', '32']
    with monkeypatch.context() as context:
        context.setitem(sys.modules, 'onnxruntime', None)
        error = bpkd(*arguments)
        assert error.startswith('error: ') and error.endswith("pip install 'mmseg-bpkd[onnx]'")
    monkeypatch.setattr(deploy, 'export_onnx', mock.Mock(side_effect=ValueError('the logits differ')))
    assert bpkd(*arguments) == 'error: the logits differ'


def test_an_opset_that_is_too_old_is_refused(bpkd, run, capsys):
    arguments = ['export', 'bpkd_own.py', 'last.pth', 'x.onnx', '--opset', '16']
    assert bpkd(*arguments, '--format', 'onnx') == 'error: the opset must be at least 17, got 16'
    assert bpkd('export', 'bpkd_own.py', 'last.pth', 'x.pth', '--opset', '17') == 2
    assert '--size, --opset and --check-data are for --format onnx' in capsys.readouterr().err


@pytest.fixture
def steps(monkeypatch) -> list:
    """Replaces the export and the comparison of the metrics, and lists what was exported and compared."""
    done = []

    def export(cfg, checkpoint, out, size, opset) -> float:
        done.append(f'exported {out}')
        open(out, 'w').close()
        return 0.0

    def compare(cfg, checkpoint, onnx) -> dict:
        done.append(f'compared {onnx}')
        assert os.path.exists(onnx) and not os.path.exists('student.onnx')
        if cfg.get('differs'):
            raise ValueError('mIoU is 1 in PyTorch but 2')
        return {'mIoU': (1.0, 1.0)}

    monkeypatch.setattr(deploy, 'export_onnx', export)
    monkeypatch.setattr(evaluate, 'compare_with_onnx', compare)
    return done


@pytest.mark.parametrize('differs', [False, True])
def test_an_onnx_file_gets_its_name_after_its_metrics_were_compared(bpkd, run, steps, differs):
    before = set(os.listdir())
    checked = ['student.onnx', '--format', 'onnx', '--check-data', '--cfg-options', f'+differs={differs}']
    error = bpkd('export', 'bpkd_own.py', 'last.pth', *checked)
    assert steps == ['exported student.unchecked.onnx', 'compared student.unchecked.onnx']
    assert error == ('error: mIoU is 1 in PyTorch but 2' if differs else None)
    assert set(os.listdir()) - before == (set() if differs else {'student.onnx'})


def test_the_test_set_is_looked_for_before_the_export(bpkd, run, steps):
    checked = ['student.onnx', '--format', 'onnx', '--check-data', '--cfg-options']
    error = bpkd('export', 'bpkd_own.py', 'last.pth', *checked, 'test_dataloader.dataset.data_root=nowhere')
    assert "test_dataloader.dataset.data_root is 'nowhere', which is not a folder" in error and not steps


def test_a_joined_test_set_has_the_classes_of_its_first_part(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = Config.fromfile('config.py')
    whole = dataset_meta(cfg, {})
    part = cfg.test_dataloader.dataset
    part.pipeline.insert(1, dict(type='LoadCheckedAnnotations', num_classes=9))
    for wrapper in (
        dict(type='ConcatDataset', datasets=[part, part]),
        dict(type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=[part])),
    ):
        cfg.test_dataloader.dataset = wrapper
        assert dataset_meta(cfg, {}) == whole
    exported = Config.fromfile(export_student(cfg, 'last.pth', 'student.pth'))
    inner = exported.test_dataloader.dataset.dataset.datasets[0]
    assert inner.pipeline[1] == dict(type='LoadAnnotations')


def test_the_exported_config_still_maps_labels_but_not_for_inference(run, tmp_path, monkeypatch):
    """`inference_model` loads no labels, and finds the transform to leave out by the name `LoadAnnotations`."""
    monkeypatch.chdir(tmp_path)
    cfg = Config.fromfile('config.py')
    load = dict(type='LoadCheckedAnnotations', num_classes=9, label_map={0: 0, 255: 1})
    cfg.test_dataloader.dataset.pipeline.insert(1, dict(load))
    exported = Config.fromfile(export_student(cfg, 'last.pth', 'student.pth'))
    assert exported.test_dataloader.dataset.pipeline[1] == load
    assert exported.test_pipeline[1] == dict(type='LoadAnnotations')


def test_a_data_set_that_is_not_registered_is_named():
    dataset = dict(type='Own')
    cfg = Config(dict(test_dataloader=dict(dataset=dataset)))
    with pytest.raises(ValueError, match='neither the checkpoint nor Own, which is not registered, has the names'):
        dataset_meta(cfg, {})
    cfg.test_dataloader.dataset.metainfo = dict(classes=['a'], palette=[[1, 2, 3]])
    assert dataset_meta(cfg, {}) == dict(classes=('a',), palette=[[1, 2, 3]])
