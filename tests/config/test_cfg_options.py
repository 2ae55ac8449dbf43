"""`--cfg-options`: a key either changes the config or is an error that names the nearest key."""

import argparse
import os.path as osp
import re

import pytest
from conftest import ROOT
from mmengine.config import Config

from mmseg_bpkd.cli.arguments import add_cfg_options
from mmseg_bpkd.config.options import merge_options

CONFIG = osp.join(ROOT, 'configs/bpkd/bpkd_deeplabv3plus-r18w32_deeplabv3plus-r18w16_1xb6-4k_camvid-240x320.py')
SWIN = osp.join(ROOT, 'configs/bpkd/bpkd_upernet-swin-b_upernet-swin-t_4xb4-80k_ade20k-512x512.py')
PLAIN = osp.join(ROOT, 'configs/deeplabv3plus/deeplabv3plus_r18w16_1xb6-4k_camvid-240x320.py')


def parsed(*options: str) -> dict:
    parser = argparse.ArgumentParser()
    add_cfg_options(parser, 'changes')
    return parser.parse_args(['--cfg-options', *options]).cfg_options


def merged(*options: str, config: str = CONFIG) -> Config:
    cfg = Config.fromfile(config)
    merge_options(cfg, parsed(*options))
    return cfg


def value_of(cfg: Config, key: str):
    node = cfg
    for part in key.split('.'):
        node = node[int(part) if isinstance(node, (list, tuple)) else part]
    return node


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('train_cgf.max_iters=9', 'no key train_cgf; the nearest is train_cfg.max_iters'),
        ('train_cfg.max_iter=9', "IterBasedTrainLoop has no argument 'max_iter'; the nearest is 'max_iters'"),
        ('max_iters=9', 'no key max_iters; the nearest is train_cfg.max_iters'),
        ('model.distiler.type=X', "SegDistill has no argument 'distiler'; the nearest is 'distiller'"),
        ('model.distiller.losses.loss_bpkd.edge=1', "BPKDLoss has no argument 'edge'; the nearest is 'edges'"),
        ('model.distiller.losses.loss_bpk.tau_edge=1', 'the nearest is model.distiller.losses.loss_bpkd.tau_edge'),
        ('model.student.backbone.dept=18', "ResNetV1c has no argument 'dept'; the nearest is 'depth'"),
        ('model.student.decode_heat.channels=18', "EncoderDecoder has no argument 'decode_heat'; the nearest is"),
        ('optim_wrapper.accumulative_count=2', "the nearest is 'accumulative_counts'"),
        ('train_dataloader.batchsize=2', 'the nearest is train_dataloader.batch_size'),
        ('train_dataloader.dataset.indexes=2', "CamVidDataset has no argument 'indexes'; the nearest is 'indices'"),
        ('val_evaluator.0.ignore_indx=0', "SegIoU has no argument 'ignore_indx'; the nearest is 'ignore_index'"),
        (
            'train_dataloader.dataset.pipeline.77.x=1',
            r'elements are .*pipeline.0 to .*pipeline.7.*write \+.*pipeline.8',
        ),
        ('train_dataloader.dataset.pipeline.-1.x=1', 'is a list, whose elements are'),
        ('train_dataloader.batch_size.x=1', 'train_dataloader.batch_size is 6, which has no keys'),
        ('model.distiller=cwd', r'it has the keys type, losses: .*use --method'),
        ('.model.x=1', 'joined by single dots'),
        ('model..x=1', 'joined by single dots'),
        ('_delete_=True', 'no key _delete_'),
        ('_base_=x', 'no key _base_'),
        ('launcher=pytorch', 'no key launcher'),
    ],
)
def test_a_key_without_effect_is_refused_with_the_nearest_key(option, message):
    with pytest.raises(ValueError, match=message) as error:
        merged(option)
    assert str(error.value).startswith(f'--cfg-options {option}: ') and '\n' not in str(error.value)


def test_the_error_says_how_a_new_key_is_set_on_purpose():
    with pytest.raises(ValueError, match=r'To set a new key on purpose, write \+train_cgf.max_iters$'):
        merged('train_cgf.max_iters=9')
    assert merged('+train_cgf.max_iters=9').train_cgf == dict(max_iters=9)


@pytest.mark.parametrize(
    ('option', 'instead'),
    [
        ('data_root=x', 'set train_dataloader.dataset.data_root, val_dataloader.dataset.data_root, test_dataloader.'),
        ('student.pretrained=x', 'set model.student.pretrained instead'),
        ('distiller.losses.loss_bpkd.type=x', 'set model.distiller.losses.loss_bpkd.type instead'),
        ('num_classes=3', 'pipeline.2.num_classes, val_dataloader.dataset.pipeline.1.num_classes, '),
        ('crop_size=(1,1)', 'train_dataloader.dataset.pipeline.4.crop_size'),
        ('test_pipeline.1.scale=(9,9)', 'val_dataloader.dataset.pipeline.1.scale, test_dataloader.dataset.pipeline.1'),
        ('task.num_classes=3', 'task is a variable of the config file. To set'),
    ],
)
def test_a_variable_of_the_file_is_refused_with_the_places_it_was_copied_to(option, instead):
    with pytest.raises(ValueError, match='is a variable of the config file') as error:
        merged(option)
    assert instead in str(error.value)
    cfg = merged(f'+{option}')
    key, value = next(iter(parsed(option).items()))
    assert value_of(cfg, key) == value


@pytest.mark.parametrize(
    'option',
    [
        'model.distiller.losses.loss_bpkd.tau_edge=2',
        'model.channels_last=True',
        'model.num_classes=5',
        'model.student.backbone.depth=50',
        'model.student.backbone.norm_cfg.type=BN',
        'model.student.decode_head.loss_decode.loss_weight=2',
        'optim_wrapper.accumulative_counts=4',
        'optim_wrapper.paramwise_cfg.bias_lr_mult=2',
        'optim_wrapper.clip_grad.max_norm=1',
        'optim_wrapper.type=AmpOptimWrapper',
        'optim_wrapper.dtype=bfloat16',
        'default_hooks.checkpoint.max_keep_ckpts=3',
        'default_hooks.logger.priority=9',
        'default_hooks.visualization=None',
        'default_hooks.runtime_info=None',
        'param_scheduler.0.end=7',
        'param_scheduler=None',
        'train_cfg.val_begin=9',
        'train_dataloader.prefetch_factor=4',
        'train_dataloader.dataset.indices=4',
        'train_dataloader.dataset.metainfo.classes=a,b',
        'train_dataloader.dataset.pipeline.4.crop_size=(96,96)',
        'test_evaluator.1.half_width=[1,2]',
        'custom_hooks.0.priority=9',
        'randomness.deterministic=True',
        'find_unused_parameters=True',
        'experiment_name=mine',
        'load_from=x.pth',
        'log_processor.window_size=5',
        'num_images.train=9',
        'vis_backends.0.type=TensorboardVisBackend',
        'model.compile_networks=[teacher,student]',
        '+vis_backends.1.type=TensorboardVisBackend',
        '+model.distiller.losses.loss_kd.type=KDLoss',
        '+custom_hooks.5.type=EMAHook',
        '+new.key=1',
        '+train_dataloader.dataset.pipeline.8=x',
    ],
)
def test_what_the_config_has_or_its_classes_accept_is_set(option):
    (key, value), before = next(iter(parsed(option).items())), Config.fromfile(CONFIG)
    cfg = merged(option)
    assert value_of(cfg, key.removeprefix('+')) == value
    top = key.removeprefix('+').split('.')[0]
    assert {k: v for k, v in cfg.to_dict().items() if k != top} == {
        k: v for k, v in before.to_dict().items() if k != top
    }


def test_keys_of_a_network_are_those_of_the_config_that_it_names():
    key = 'model.student.backbone.init_cfg.checkpoint'
    assert value_of(merged(f'{key}=x.pth', config=SWIN), key) == 'x.pth'
    assert merged('model.backbone.depth=50', 'model.num_classes=3', config=PLAIN).model.backbone.depth == 50
    with pytest.raises(ValueError, match="has no argument 'bakbone'; the nearest is 'backbone'"):
        merged('model.bakbone.depth=50', config=PLAIN)
    with pytest.raises(FileNotFoundError, match="cfg_path='nowhere.py'"):
        merged('model.student.backbone.depth=50', 'model.student.cfg_path=nowhere.py')


def test_a_type_and_the_arguments_of_the_new_class_may_come_in_any_order():
    loss = 'model.distiller.losses.loss_bpkd'
    options = [f'{loss}.tau=4', f'{loss}.type=CWDLoss']
    assert merged(*options).model == merged(*reversed(options)).model
    with pytest.raises(ValueError, match="CWDLoss has no argument 'alpha'"):
        merged(f'{loss}.alpha=4', f'{loss}.type=CWDLoss')
    student = ['model.student.backbone.arch=tiny', 'model.student.backbone.type=mmpretrain.ConvNeXt']
    assert merged(*student).model.student.backbone.arch == 'tiny'  # not registered here, so anything may be right


def test_delete_replaces_a_dict_as_in_a_config_file():
    options = ['optim_wrapper.optimizer.lr=1', 'optim_wrapper.optimizer.type=AdamW']
    cfg = merged(*options, 'optim_wrapper.optimizer._delete_=True')
    assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=1)
    cfg = merged('val_evaluator.0._delete_=True', 'val_evaluator.0.type=BoundaryIoU')
    assert cfg.val_evaluator[0] == dict(type='BoundaryIoU') and len(cfg.val_evaluator) == 3


def test_one_list_is_changed_and_not_its_copies():
    cfg = merged('+vis_backends.1.type=TensorboardVisBackend')
    assert cfg.vis_backends == [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
    assert cfg.visualizer.vis_backends == [dict(type='LocalVisBackend')]


@pytest.mark.parametrize(
    'options', [('model.a=1', 'model.a.b=2'), ('model.a.b=2', 'model.a=1'), ('model.a=1', '+model.a=2')]
)
def test_a_key_is_not_set_twice(options):
    with pytest.raises(ValueError, match=f'sets the same place twice: {re.escape(options[0][:-2])} and '):
        merged(*options)


def test_none_removes_what_was_set_before():
    assert merged('val_dataloader.batch_size=2', 'val_dataloader=None').val_dataloader is None


@pytest.mark.parametrize('option', ['model', 'a=[1,(2]'])
def test_an_option_that_is_not_key_and_value_is_named(option, capsys):
    with pytest.raises(SystemExit):
        parsed('a=1', option)
    assert f'--cfg-options expects KEY=VALUE, with balanced brackets, got {option!r}' in capsys.readouterr().err
