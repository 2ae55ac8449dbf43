"""Errors of the libraries during training are replaced by ones that name the file or the layer, and say what to do."""

import errno
import os
import os.path as osp
from types import SimpleNamespace

import pytest
import runs
import tiny
import torch
import toy
from conftest import ROOT
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from mmseg_bpkd.config.reading import read_config
from mmseg_bpkd.engine.train import check_hooks, train, warn_of_another_length, warn_of_sgd_for_transformers
from mmseg_bpkd.models.losses import DistillLoss
from mmseg_bpkd.models.segmentors import build_segmentor, resolve_segmentor

FULL = '/dev/full'  # each write to it fails as on a full disk
needs_full_device = pytest.mark.skipif(not os.path.exists(FULL), reason=f'this system has no {FULL}')


@needs_full_device
def test_a_disk_that_fills_up_during_training_is_named_with_what_to_do(tmp_path):
    class FillUp(Hook):
        def before_train_iter(self, runner, *args, **kwargs):
            if runner.iter == 3:
                os.symlink(FULL, tmp_path / 'iter_4.pth.part')

    message = rf'the disk is full: cannot write {tmp_path}/iter_4\.pth\. Free space, .* continue with --resume'
    with pytest.raises(OSError, match=message):
        train(toy.runner(tmp_path, hooks=(FillUp(),)))
    assert sorted(name for name in os.listdir(tmp_path) if 'iter' in name) == ['iter_2.pth']
    assert (tmp_path / 'last_checkpoint').read_text().endswith('iter_2.pth')


def test_a_full_disk_without_a_file_name_is_that_of_the_work_directory(tmp_path):
    class Log(Hook):
        def after_train_iter(self, runner, *args, **kwargs):
            raise OSError(errno.EDQUOT, 'Disk quota exceeded')

    with pytest.raises(OSError, match=f'the disk is full: cannot write into {tmp_path}'):
        train(toy.runner(tmp_path, hooks=(Log(),)))


def test_another_error_of_the_system_is_not_changed(tmp_path):
    class Read(Hook):
        def after_train_iter(self, runner, *args, **kwargs):
            raise FileNotFoundError(errno.ENOENT, 'No such file', 'image.png')

    with pytest.raises(FileNotFoundError, match='image.png'):
        train(toy.runner(tmp_path, hooks=(Read(),)))


def test_a_batch_of_one_image_names_the_batch_norm_that_cannot_work(tmp_path):
    model = tiny.distillation(tiny.save_teacher(tmp_path / 'teacher.pth')).train()
    runner = SimpleNamespace(model=model, train=lambda: tiny.losses_of(model, tiny.batch(1)))
    name = r'architecture\.decode_head\.psp_modules\.0\.1\.bn'
    message = rf'the batch norm {name} gets one value per channel.*\[1, 8, 1, 1\].*Set train_dataloader.batch_size to 2'
    with pytest.raises(ValueError, match=message):
        train(runner)


def test_another_value_error_is_not_changed(tmp_path):
    def fail() -> None:
        raise ValueError('something else')

    with pytest.raises(ValueError, match='^something else$'):
        train(SimpleNamespace(model=toy.Net(), train=fail))


def test_a_checkpoint_without_the_state_of_a_run_is_not_resumed(tmp_path):
    torch.save(dict(state_dict=toy.Net().state_dict(), meta={}), tmp_path / 'student.pth')
    message = rf'cannot resume from {tmp_path}/student\.pth, which has no optimizer, message_hub: .*load_from=PATH'
    with pytest.raises(ValueError, match=message):
        toy.runner(tmp_path / 'run', resume=True, load_from=str(tmp_path / 'student.pth')).train()


def test_a_checkpoint_of_another_network_is_not_resumed(tmp_path):
    """MMEngine warns, and continues with random weights."""
    toy.runner(tmp_path, max_iters=2).train()
    model = toy.Net()
    model.layers.append(torch.nn.Conv2d(1, 1, 1))
    with pytest.raises(ValueError, match=r'iter_2\.pth is not a checkpoint of this Net: 2 missing: layers\.4\.weight'):
        toy.runner(tmp_path / 'run', model=model, resume=True, load_from=f'{tmp_path}/iter_2.pth').train()


def test_a_checkpoint_with_nan_is_not_resumed(tmp_path):
    toy.runner(tmp_path, max_iters=2).train()
    checkpoint = toy.checkpoint(tmp_path, 2)
    checkpoint['state_dict']['layers.3.bias'][0] = float('nan')
    torch.save(checkpoint, tmp_path / 'nan.pth')
    with pytest.raises(
        ValueError, match=r'nan\.pth holds NaN or infinity in 1 of its 9 tensors, first in layers\.3\.bias'
    ):
        toy.runner(tmp_path / 'run', resume=True, load_from=f'{tmp_path}/nan.pth').train()


def run_with(hooks: list, distiller=None, sampler: str = 'ResumableSampler') -> tuple:
    """What `check_hooks` reads of a Runner, and the list of its warnings."""
    said = []
    return SimpleNamespace(
        hooks=[HOOKS.build(hook) for hook in hooks],
        cfg=Config(dict(train_dataloader=dict(sampler=dict(type=sampler)))),
        model=SimpleNamespace(distiller=distiller),
        logger=SimpleNamespace(warning=said.append),
    ), said


def test_a_config_that_replaces_the_list_of_hooks_is_told_what_it_lost_and_how_to_add_hooks():
    usual = Config.fromfile(osp.join(ROOT, 'configs', runs.DEMO)).custom_hooks
    for hooks, sampler, lost in (
        (usual, 'ResumableSampler', None),
        ([*usual, dict(type='EMAHook')], 'ResumableSampler', None),
        (usual[1:], 'ResumableSampler', 'ExactResumeHook'),
        (usual[1:], 'InfiniteSampler', None),
        ([dict(type='EMAHook')], 'InfiniteSampler', 'ClipLossGradHook, StopOnNaNHook, SaveOnSignalHook'),
        (usual[:1], 'ResumableSampler', 'ClipLossGradHook, StopOnNaNHook, SaveOnSignalHook'),
    ):
        run, said = run_with(hooks, sampler=sampler)
        check_hooks(run)
        grammar = 'To add hooks to those of a base config, write custom_hooks = [*_base_.custom_hooks, ...]'
        assert said == ([f'custom_hooks has no {lost}. {grammar}'] if lost else [])


ITERATIONS, EPOCHS = dict(type='IterBasedTrainLoop', max_iters=60), dict(type='EpochBasedTrainLoop', max_epochs=3)
POLY = dict(type='PolyLR', by_epoch=False)
FOLLOW = 'to let the schedule follow, add --cfg-options param_scheduler'


@pytest.mark.parametrize(
    ('loop', 'schedule', 'said'),
    [
        (ITERATIONS, [dict(POLY, end=60)], None),
        (ITERATIONS, [dict(POLY, end=600)], f'ends at 600, but the training at 60 iterations: {FOLLOW}.0.end=60'),
        (ITERATIONS, [dict(POLY, end=40)], f'ends at 40, but the training at 60 iterations: {FOLLOW}.0.end=60'),
        (ITERATIONS, dict(POLY, end=600), f'{FOLLOW}.end=60'),
        (ITERATIONS, [dict(type='LinearLR', end=15, by_epoch=False), dict(POLY, begin=15, end=60)], None),
        (
            ITERATIONS,
            [dict(type='LinearLR', end=99, by_epoch=False), dict(POLY, begin=99, end=600)],
            f'{FOLLOW}.1.end=60, and let it begin earlier: param_scheduler.1.begin is 99',
        ),
        (ITERATIONS, [dict(type='ConstantLR', by_epoch=False)], None),
        (ITERATIONS, [dict(type='MultiStepLR', milestones=[2])], 'param_scheduler.0 counts epochs, but the training c'),
        (ITERATIONS, [dict(type='PolyLR', end=2, convert_to_iter_based=True)], None),
        (ITERATIONS, None, None),
        (EPOCHS, [dict(type='PolyLR', end=3)], None),
        (EPOCHS, [dict(type='PolyLR', end=4)], f'ends at 4, but the training at 3 epochs: {FOLLOW}.0.end=3'),
        (EPOCHS, [dict(POLY, end=15)], None),
        (EPOCHS, [dict(POLY, end=80000)], f'ends at 80000, but the training at 15 iterations: {FOLLOW}.0.end=15'),
    ],
)
def test_a_schedule_of_another_length_than_the_training_is_warned_of(loop, schedule, said):
    warnings = []
    warn_of_another_length(
        SimpleNamespace(
            cfg=Config(dict(train_cfg=loop, param_scheduler=schedule)),
            train_loop=SimpleNamespace(max_iters=15),
            logger=SimpleNamespace(warning=warnings.append),
        )
    )
    assert len(warnings) == (said is not None) and all(said in line for line in warnings)


def test_the_advice_about_the_schedule_of_a_shorter_training_ends_the_warning():
    """The example of docs/usage.md."""
    for options in ({'train_cfg.max_iters': 9}, {'train_cfg.max_iters': 9, 'param_scheduler.0.end': 9}):
        warnings = []
        cfg = read_config(osp.join(ROOT, 'configs', runs.DEMO), options)
        warn_of_another_length(SimpleNamespace(cfg=cfg, logger=SimpleNamespace(warning=warnings.append)))
        assert len(warnings) == 2 - len(options)


SEGFORMER = 'mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py'
TINY_MIT = dict(embed_dims=8, num_layers=[1] * 4, num_heads=[1] * 4, init_cfg=None)


@pytest.mark.parametrize('algorithm', [True, False])
@pytest.mark.parametrize(
    ('student', 'optimizer', 'warned'),
    [
        (dict(cfg_path=SEGFORMER, backbone=TINY_MIT), 'SGD', True),
        (dict(cfg_path=SEGFORMER, backbone=TINY_MIT), 'AdamW', False),
        (tiny.pspnet(), 'SGD', False),
    ],
)
def test_a_transformer_with_sgd_is_warned_of(student, optimizer, warned, algorithm):
    network = build_segmentor(resolve_segmentor(student, 3, tiny.PREPROCESSOR))
    said = []
    run = SimpleNamespace(
        model=SimpleNamespace(student=network) if algorithm else network,
        cfg=Config(dict(optim_wrapper=dict(optimizer=dict(type=optimizer, lr=0.01)))),
        logger=SimpleNamespace(warning=said.append),
    )
    warn_of_sgd_for_transformers(run)
    message = 'the backbone MixVisionTransformer is a transformer or the like, but the optimizer is SGD with lr=0.01'
    assert [line.startswith(message) for line in said] == [True] * warned
    assert all(osp.isfile(osp.join(ROOT, 'configs/_base_/schedules', '80k_adamw.py')) for _ in said)


@pytest.mark.parametrize('loop', [dict(type='EpochBasedTrainLoop', max_epochs=1), dict(by_epoch=True, max_epochs=1)])
@pytest.mark.parametrize(
    ('sampler', 'hooks', 'ends'),
    [
        ('ResumableSampler', ['ExactResumeHook'], True),
        ('ResumableSampler', [], False),
        ('InfiniteSampler', ['ExactResumeHook'], False),
        ('InfiniteSampler', [], False),
        ('DefaultSampler', [], True),
    ],
)
def test_an_epoch_that_would_not_end_is_an_error(loop, sampler, hooks, ends):
    run, _ = run_with([dict(type=hook) for hook in hooks], sampler=sampler)
    check_hooks(run)  # a training by iterations
    run.cfg.train_cfg = loop
    if ends:
        check_hooks(run)
        return
    with pytest.raises(ValueError, match=f'the training is by epochs, but {sampler} never ends an epoch: use'):
        check_hooks(run)


@pytest.mark.parametrize('needs', [dict(max_grad_norm=15.0), dict(optim_options=dict(critic=dict(lr=1e-4))), {}])
def test_a_loss_that_needs_the_hook_for_its_gradients_is_an_error_without_it(needs):
    loss = DistillLoss()
    for name, value in needs.items():
        setattr(loss, name, value)
    distiller = SimpleNamespace(distill_losses=dict(loss_mine=loss, loss_plain=torch.nn.MSELoss()))
    run, said = run_with([dict(type='ExactResumeHook')], distiller)
    if needs:
        with pytest.raises(ValueError, match='loss_mine has a max_grad_norm or optim_options, which need the ClipLoss'):
            check_hooks(run)
    else:
        check_hooks(run)
        assert len(said) == 1
    usual, said = run_with(Config.fromfile(osp.join(ROOT, 'configs', runs.DEMO)).custom_hooks, distiller)
    check_hooks(usual)
    assert not said
