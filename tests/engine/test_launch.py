"""Checks and options of the command-line tools that come before the first step."""

import argparse
import copy
import importlib
import os
import os.path as osp
import re
import sys
import types

import pytest
import runs
import tiny
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS, VISUALIZERS
from mmengine.runner import Runner, checkpoint

from mmseg_bpkd.cli.arguments import add_common_arguments
from mmseg_bpkd.config import errors, reading
from mmseg_bpkd.config.errors import short_errors
from mmseg_bpkd.config.methods import known_methods, replace_method
from mmseg_bpkd.config.reading import read_config
from mmseg_bpkd.config.signatures import arguments_of
from mmseg_bpkd.datasets.check import check_classes
from mmseg_bpkd.datasets.labels import DataError
from mmseg_bpkd.engine.devices import end_process_group, use_available_devices
from mmseg_bpkd.engine.train import apply_training_options
from mmseg_bpkd.models.roles import start_from_scratch, student_config

BPKD = 'configs/bpkd/bpkd_deeplabv3plus-r18w32_deeplabv3plus-r18w16_1xb6-4k_camvid-240x320.py'
METHODS = [name for name in known_methods() if '/' not in name]


def path(config: str) -> str:
    return osp.join(ROOT, config)


def loaded(*arguments: str) -> Config:
    parser = argparse.ArgumentParser()
    parser.add_argument('config')
    add_common_arguments(parser)
    return reading.load_config(parser.parse_args(list(map(str, arguments))))


@pytest.mark.parametrize('method', METHODS)
def test_a_method_option_equals_naming_another_distiller_file(method, tmp_path):
    name = osp.basename(BPKD).replace('bpkd', method)
    leaf = open(path(BPKD)).read().replace('bpkd', method).replace("'../", f"'{ROOT}/configs/")
    (tmp_path / name).write_text(leaf)
    cfg, expected = loaded(path(BPKD), '--method', method), loaded(tmp_path / name)
    assert cfg.to_dict() == expected.to_dict()
    assert osp.basename(cfg.filename) == name  # the logs and the saved config have this name
    assert cfg.work_dir == f'work_dirs/{name[:-3]}'


def test_options_apply_to_the_distiller_of_the_method():
    cfg = loaded(path(BPKD), '--method', 'cwd', '--cfg-options', 'model.distiller.losses.loss_cwd.tau=2')
    assert cfg.model.distiller.losses == dict(loss_cwd=dict(type='CWDLoss', tau=2, weight=3.0))


@pytest.mark.parametrize(
    ('config', 'method', 'work_dir'),
    [
        ('configs/cwd/cwd_pspnet-r101_pspnet-r18_4xb4-80k_ade20k-512x512.py', 'cwd_features', 'cwd_features_pspnet-r1'),
        (
            'configs/cwd_features/cwd_features_deeplabv3plus-r18w32_deeplabv3plus-r18w16_1xb6-4k_camvid-240x320.py',
            'kd',
            'kd_deeplabv3plus-r18w32',
        ),
        (
            'configs/ablations/bpkd-scratch_pspnet-r101_pspnet-r18_4xb4-80k_ade20k-512x512.py',
            'cwd',
            'cwd-scratch_pspnet-r101',
        ),
        (BPKD, 'variants/skds_original', 'variants-skds_original_deeplabv3plus-r18w32'),
    ],
)
def test_the_work_directory_follows_the_method(config, method, work_dir):
    assert loaded(path(config), '--method', method).work_dir.startswith(f'work_dirs/{work_dir}')


def test_the_work_directory_of_a_saved_config_follows_the_method(tmp_path):
    cfg = loaded(path(BPKD), '--work-dir', tmp_path / 'runs/bpkd')
    cfg.dump(tmp_path / 'saved.py')
    assert loaded(tmp_path / 'saved.py').work_dir == str(tmp_path / 'runs/bpkd')
    assert loaded(tmp_path / 'saved.py', '--method', 'cwd').work_dir == str(tmp_path / 'runs/cwd')
    assert loaded(tmp_path / 'saved.py', '--method', 'cwd', '--work-dir', 'x').work_dir == 'x'


def test_a_file_of_ones_own_is_a_method(tmp_path):
    loss = dict(type='SegDistiller', losses=dict(loss_mine=dict(type='KDLoss')))
    (tmp_path / 'my_method.py').write_text(f'distiller = {loss}\ncustom_imports = dict(imports=["json"])')
    cfg = loaded(path(BPKD), '--method', tmp_path / 'my_method.py')
    assert cfg.model.distiller == loss and cfg.custom_imports.imports == ['mmseg_bpkd.engine', 'json']
    assert cfg.work_dir.startswith('work_dirs/my_method_deeplabv3plus-r18w32')
    (tmp_path / 'other.py').write_text(f'distiller = {loss}\ncustom_hooks = []')
    with pytest.raises(ValueError, match='other.py defines custom_hooks, distiller, expected distiller and'):
        loaded(path(BPKD), '--method', tmp_path / 'other.py')


def test_an_unknown_method_lists_the_known_ones():
    with pytest.raises(ValueError, match='cwdd: unknown method; the nearest is cwd; the methods are afdcd, aicsd') as e:
        loaded(path(BPKD), '--method', 'cwdd')
    assert all(method in str(e.value) for method in [*METHODS, 'stride4/skds'])


def test_a_plain_config_has_no_method():
    plain = path('configs/deeplabv3plus/deeplabv3plus_r18w16_1xb6-4k_camvid-240x320.py')
    with pytest.raises(ValueError, match="has the model 'plain_segmentor', expected the config of a distillation"):
        replace_method(Config.fromfile(plain), 'cwd')


@pytest.fixture(scope='module')
def trained(tmp_path_factory) -> tuple:
    """A run of one step, whose student would start from weights that cannot be downloaded: its config and folder."""
    folder = tmp_path_factory.mktemp('trained')
    more = f"work_dir = '{folder}/bpkd_mine'\nmodel['student'] = dict(width, pretrained='http://127.0.0.1:9/x.pth')"
    config = folder / 'bpkd_mine.py'
    os.rename(runs.write_config(folder, 1, more=more), config)
    options = ['--method', 'cwd', '--from-scratch', '--cfg-options', 'train_cfg.val_begin=9']
    done = runs.call('train.py', config, *options)
    assert 'distill.loss_cwd: ' in done.stdout
    return config, folder / 'cwd_mine'


@pytest.mark.slow
def test_a_run_with_another_method_is_named_after_it(trained):
    _, folder = trained
    assert Config.fromfile(folder / 'cwd_mine.py').model.distiller.losses.loss_cwd.type == 'CWDLoss'
    assert osp.isfile(folder / 'iter_1.pth')


@pytest.mark.slow
def test_testing_and_exporting_take_a_method(trained, tmp_path):
    config, folder = trained
    options = ['--method', 'cwd', '--cfg-options', 'model.distiller.losses.loss_cwd.tau=2']
    runs.call('export_student.py', config, folder / 'iter_1.pth', tmp_path / 'student.pth', *options)
    runs.call('test.py', config, folder / 'iter_1.pth', '--work-dir', tmp_path / 'test', *options)
    assert osp.isfile(tmp_path / 'student.pth')


@pytest.fixture
def scalars(monkeypatch) -> list:
    """Stand-ins for TensorBoard and Weights & Biases, which collect (name, value)."""
    found = []

    class SummaryWriter:
        def __init__(self, folder):
            pass

        def add_scalar(self, name, value, step):
            found.append((name, value))

        def close(self):
            pass

    wandb = types.ModuleType('wandb')
    wandb.init = lambda **kwargs: None
    wandb.run = types.SimpleNamespace(log_code=lambda name: None)
    wandb.log = lambda values, commit: found.extend(values.items())
    board = types.ModuleType('torch.utils.tensorboard')
    board.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, 'wandb', wandb)
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', board)
    return found


USAGE = open(path('docs/usage.md')).read()
LOGGING_LINES = re.findall(r'^vis_backends = .*', USAGE, re.MULTILINE)
LOGGING_OPTIONS = re.findall(r'^--cfg-options .*vis_backends.*', USAGE, re.MULTILINE)


@pytest.mark.parametrize('line', [*LOGGING_LINES, *LOGGING_OPTIONS])
def test_each_documented_line_logs_to_its_backend(line, tmp_path, scalars):
    assert len(LOGGING_LINES) == len(LOGGING_OPTIONS) == 2
    is_option = line.startswith('--')
    (tmp_path / 'config.py').write_text(f'_base_ = {path(BPKD)!r}\n{"" if is_option else line}')
    cfg = loaded(tmp_path / 'config.py', *(line.split() if is_option else []))
    visualizer = VISUALIZERS.build(dict(cfg.visualizer, save_dir=str(tmp_path), name=line))
    visualizer.add_scalar('loss', 0.5)
    assert scalars == [('loss', 0.5)]
    assert '0.5' in next(tmp_path.glob('**/scalars.json')).read_text()


def test_vis_backends_of_the_visualizer_are_kept():
    own = [dict(type='TensorboardVisBackend')]
    cfg = Config(dict(vis_backends=reading.LOCAL_BACKEND, visualizer=dict(vis_backends=own)))
    reading._share_vis_backends(cfg)
    assert cfg.visualizer.vis_backends == own
    cfg.vis_backends = [dict(type='WandbVisBackend')]
    with pytest.raises(ValueError, match='vis_backends and visualizer.vis_backends are different lists'):
        reading._share_vis_backends(cfg)


SCRATCH = {
    'bpkd_pspnet-r101_pspnet-r18_4xb4-80k_ade20k-512x512.py': 'bpkd',
    'bpkd_upernet-swin-b_upernet-swin-t_4xb4-80k_ade20k-512x512.py': 'bpkd',
    'bpkd_fcn-hr48_fcn-hr18s_4xb4-80k_ade20k-512x512.py': 'bpkd',
    'bpkd_upernet-deit-adapter-b_upernet-deit-adapter-t_4xb4-80k_ade20k-512x512.py': 'bpkd',
    'pspnet_r18_4xb4-80k_ade20k-512x512.py': 'pspnet',
    'deeplabv3plus_mv2_4xb4-80k_ade20k-512x512.py': 'deeplabv3plus',
}


@pytest.mark.parametrize('config', SCRATCH)
def test_from_scratch_leaves_no_pretrained_weights_in_the_student(config, monkeypatch):
    """Initializing the built student reads no checkpoint. Without the option, it reads one."""
    model = Config.fromfile(path(f'configs/{SCRATCH[config]}/{config}')).model

    def read(*args, **kwargs):
        raise FileNotFoundError('read a checkpoint')

    for place in ('mmengine.runner.checkpoint', 'mmseg_bpkd.fileio.checkpoint'):
        module = importlib.import_module(place)
        monkeypatch.setattr(module.CheckpointLoader, 'load_checkpoint', read)
    monkeypatch.setattr(checkpoint, '_load_checkpoint', read)
    with pytest.raises(FileNotFoundError, match='read a checkpoint'):
        MODELS.build(student_config(model)).init_weights()
    before = copy.deepcopy(model)
    start_from_scratch(model)
    MODELS.build(student_config(model)).init_weights()
    if model.type == 'SegDistill':
        assert (model.teacher, model.teacher_ckpt) == (before.teacher, before.teacher_ckpt)


def test_from_scratch_equals_the_configs_of_the_ablation():
    pair = 'pspnet-r101_pspnet-r18_4xb4-80k_ade20k-512x512.py'
    cfg = Config.fromfile(path(f'configs/bpkd/bpkd_{pair}'))
    start_from_scratch(cfg.model)
    assert cfg.model == Config.fromfile(path(f'configs/ablations/bpkd-scratch_{pair}')).model


def test_mmrazors_algorithm_cannot_start_from_scratch():
    cfg = Config.fromfile(path('configs/mmrazor/bpkd-mmrazor_pspnet-r101_pspnet-r18_4xb4-80k_cityscapes-512x1024.py'))
    with pytest.raises(ValueError, match='--from-scratch'):
        start_from_scratch(cfg.model)


def synthetic(**changes) -> Config:
    cfg = Config.fromfile(path('configs/bpkd/bpkd_pspnet-r18w16_pspnet-r18w8_1xb8-600_synthetic-112x112.py'))
    cfg.merge_from_dict({key.replace('__', '.'): value for key, value in changes.items()})
    return cfg


def nameless() -> Config:
    cfg = Config.fromfile(path(BPKD))
    for loader in ('train_dataloader', 'val_dataloader'):
        cfg[loader].dataset = dict(type='BaseSegDataset', data_root='x', pipeline=cfg[loader].dataset.pipeline)
    return cfg


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (
            nameless(),
            r'^train: BaseSegDataset has no class names, which validation needs: set metainfo=dict\(classes=\(...\)\) '
            'in train_dataloader.dataset$',
        ),
        (
            synthetic(train_dataloader__dataset__metainfo__classes=['a', 'b']),
            '^train: SyntheticScenes has 2 classes, but the decode_head of the student has num_classes=9',
        ),
        (
            synthetic(val_dataloader__dataset__metainfo__classes=['a', 'b']),
            '^val: SyntheticScenes has 2 classes, but the decode_head of the student has num_classes=9',
        ),
        (
            synthetic(model__num_classes=None, model__student__decode_head__num_classes=9),
            'auxiliary_head of the student has num_classes=19',
        ),
        (
            synthetic(
                model__num_classes=None,
                model__student__decode_head__num_classes=9,
                model__student__auxiliary_head__num_classes=9,
            ),
            'SyntheticScenes has 9 classes, but the decode_head of the teacher has num_classes=19',
        ),
    ],
    ids=['no names', 'training data', 'validation data', 'auxiliary head', 'teacher'],
)
def test_class_counts_are_compared_before_training(cfg, message):
    with pytest.raises(ValueError, match=message):
        check_classes(cfg, 'train', 'val')


@pytest.mark.parametrize('kind', ['BaseSegDataset', 'CamVidDataset'])
def test_a_string_in_place_of_the_names_of_the_classes_is_an_error(kind):
    """It has the number of classes of its letters."""
    cfg = nameless()
    cfg.train_dataloader.dataset.update(type=kind, metainfo=dict(classes='water'))  # as ('water') is
    with pytest.raises(ValueError, match=r"^train: classes is the string 'water', .*: write classes=\('water',\) in"):
        check_classes(cfg, 'train')


def test_class_counts_are_compared_before_testing():
    """Also if the test data is the validation data, as in all configs here."""
    changes = {f'{loader}_dataloader__dataset__metainfo__classes': ['a', 'b'] for loader in ('val', 'test')}
    with pytest.raises(
        ValueError, match='^test: SyntheticScenes has 2 classes, but the decode_head of the network has'
    ):
        check_classes(synthetic(**changes), 'test')


def test_the_classes_of_the_pipeline_are_compared_with_the_names():
    cfg = Config.fromfile(path(BPKD))
    cfg.train_dataloader.dataset.pipeline[2].num_classes = 12
    with pytest.raises(ValueError, match='train: num_classes is 12 in the pipeline, but CamVidDataset has 11 classes'):
        check_classes(cfg, 'train', 'val')


def test_testing_does_not_read_the_teachers_config():
    cfg = synthetic(model__teacher__cfg_path='nowhere.py')
    check_classes(cfg, 'test')
    with pytest.raises(FileNotFoundError):
        check_classes(cfg, 'train')


def test_a_dataset_that_cannot_be_built_is_left_to_the_runner():
    check_classes(synthetic(train_dataloader__dataset__splitt='train'), 'train')


def test_the_classes_of_the_teachers_checkpoint_are_compared(tmp_path):
    other = tiny.save_teacher(tmp_path / 'teacher.pth', num_classes=5)
    with pytest.raises(ValueError, match=r'teacher.pth. has 5 classes, but the data has 3'):
        tiny.distillation(other)


@MODELS.register_module()
class ModelWithRest(BaseModel):
    def __init__(self, width: int, **kwargs) -> None:
        super().__init__(**kwargs)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return inputs


def test_arguments_of_a_class_include_those_that_it_passes_on():
    assert arguments_of(ModelWithRest) == (['width', 'data_preprocessor', 'init_cfg'], False)
    assert arguments_of(lambda a, **rest: a) == (['a'], True)
    assert arguments_of(Runner.set_randomness) == (['seed', 'diff_rank_seed', 'deterministic'], False)


BROKEN = {
    'an argument of a loss': (
        dict(model__distiller__losses__loss_bpkd__edge=1),
        r"model.distiller.losses.loss_bpkd.edge=1: BPKDLoss has no argument 'edge'; the nearest is 'edges'; its "
        'arguments are body_mask, .*tau_edge',
    ),
    'an argument of the model': (
        dict(model__fold_techer=True),
        "model.fold_techer=True: SegDistill has no argument 'fold_techer'; the nearest is 'fold_teacher'; its arg",
    ),
    'an argument of a class inside of the student': (
        dict(model__student__backbone__dept=18),
        "model.student.backbone.dept=18: ResNetV1c has no argument 'dept'; the nearest is 'depth'; its arguments are ",
    ),
    'a type': (
        dict(model__distiller__losses__loss_bpkd__type='BPKLoss'),
        "model.distiller.losses.loss_bpkd.type='BPKLoss': no class 'BPKLoss' is registered; the nearest is 'BPKDLoss'",
    ),
}


@pytest.mark.parametrize('case', BROKEN)
@pytest.mark.parametrize('rank', [0, 1])
def test_a_typo_in_a_config_ends_with_one_line(case, rank, monkeypatch, tmp_path):
    changes, message = BROKEN[case]
    cfg = synthetic(**changes)
    monkeypatch.setenv('RANK', str(rank))
    monkeypatch.setenv('MMSEG_BPKD_ERROR_FILE', str(tmp_path / 'error'))
    waited = []
    monkeypatch.setattr(errors, 'time', types.SimpleNamespace(sleep=waited.append))
    with pytest.raises(SystemExit, match=f'error: {message}') as stop, short_errors(cfg, launcher='pytorch'):
        MODELS.build(cfg.model)
    assert '\n' not in str(stop.value)
    assert waited == [10] * rank  # the first rank says it, and its end ends the others


def test_read_config_says_which_file_is_missing():
    with pytest.raises(FileNotFoundError, match='no config nowhere.py'):
        read_config('nowhere.py', {})


def test_a_config_without_a_seed_is_not_given_one():
    cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper')))
    options = dict.fromkeys(('seed', 'deterministic', 'amp', 'auto_scale_lr', 'from_scratch', 'resume'))
    apply_training_options(cfg, argparse.Namespace(**options))
    assert cfg.randomness == dict(seed=None)  # MMEngine draws one, and a resumed run continues with it
    apply_training_options(cfg, argparse.Namespace(**{**options, 'seed': 3, 'deterministic': True}))
    assert cfg.randomness == dict(seed=3, deterministic=True)


# Processes without CUDA

LAUNCHERS = dict(
    pytorch=dict(RANK='0', WORLD_SIZE='1', MASTER_ADDR='127.0.0.1'),
    mpi=dict(OMPI_COMM_WORLD_RANK='0', OMPI_COMM_WORLD_SIZE='1', MASTER_ADDR='127.0.0.1'),
    slurm=dict(SLURM_PROCID='0', SLURM_NTASKS='1', SLURM_NODELIST='node[1-2]'),
)


@pytest.mark.skipif(torch.cuda.is_available(), reason='only machines without CUDA use gloo')
@pytest.mark.parametrize('launcher', LAUNCHERS)
def test_processes_of_every_launcher_are_connected_on_a_machine_without_cuda(launcher, monkeypatch, tmp_path):
    scontrol = tmp_path / 'scontrol'
    scontrol.write_text('#!/bin/sh\n[ "$*" = "show hostname node[1-2]" ] && printf "127.0.0.1\\nnode2\\n"\n')
    scontrol.chmod(0o755)
    for name in {name for variables in LAUNCHERS.values() for name in variables}:
        monkeypatch.delenv(name, raising=False)
    for name, value in LAUNCHERS[launcher].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    monkeypatch.setenv('MASTER_PORT', str(runs.free_port()))
    cfg = Config(dict(launcher=launcher))
    use_available_devices(cfg)
    try:
        assert torch.distributed.get_backend() == 'gloo' and torch.distributed.get_world_size() == 1
        assert os.environ['MASTER_ADDR'] == '127.0.0.1'
        assert cfg.model_wrapper_cfg.type == 'CPUDistributedDataParallel'
    finally:
        end_process_group()
        os.environ.pop('MASTER_ADDR')
    assert not torch.distributed.is_initialized()


class Refusing(torch.utils.data.Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise DataError('label a.png has 3 channels: expected one')


@pytest.mark.parametrize('workers', [0, 1])
def test_an_error_of_the_data_is_one_line_also_from_a_worker(workers):
    with pytest.raises(SystemExit) as stop, short_errors(None, DataError):
        next(iter(torch.utils.data.DataLoader(Refusing(), num_workers=workers)))
    assert stop.value.code == 'error: label a.png has 3 channels: expected one'
