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

from mmseg_bpkd.engine.train import check_hooks, train
from mmseg_bpkd.models.losses import DistillLoss

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
