"""A run whose loss or weights are no longer finite ends with an error, and its last good checkpoint stays."""

import os
import re
from functools import partial

import pytest
import runs
import tiny
import torch
import toy
from mmengine.hooks import EMAHook, Hook
from mmengine.optim.optimizer import amp_optimizer_wrapper

from mmseg_bpkd.engine.hooks import StopOnNaNHook
from mmseg_bpkd.fileio.checkpoint import load_strictly


class Spoil(Hook):
    """Multiplies something by a factor before the given iterations, counted from 1."""

    def __init__(self, name: str, iterations=(), factor: float = float('nan')) -> None:
        self.name, self.iterations, self.factor = name, iterations, factor

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter + 1 in self.iterations:
            self.spoil(runner, data_batch)

    def spoil(self, runner, data_batch) -> None:
        if self.name == 'image':
            data_batch['inputs'][0] = data_batch['inputs'][0] * self.factor
        else:
            runner.model.state_dict()[self.name].mul_(self.factor)


class SpoilAfter(Spoil):
    def before_train_iter(self, *args, **kwargs) -> None:
        pass

    def after_train_iter(self, runner, *args, **kwargs) -> None:
        if runner.iter + 1 in self.iterations:
            self.spoil(runner, None)


def saved(folder) -> list:
    return sorted(name for name in os.listdir(folder) if name.endswith(('.pth', '.part')))


def test_a_bad_batch_stops_the_run_with_iteration_and_term_and_keeps_the_checkpoint(tmp_path):
    with pytest.raises(FloatingPointError) as error:
        toy.runner(tmp_path, hooks=(Spoil('image', [6]),)).train()
    message = str(error.value)
    assert message.startswith('iteration 6: loss_near is nan. The last checkpoint is ')
    assert re.search(r'iter_4\.pth; nothing was saved since\. Try a lower learning rate \(now 0\.0\d+\)', message)
    assert saved(tmp_path) == ['iter_4.pth']
    assert all(torch.isfinite(value).all() for value in toy.checkpoint(tmp_path, 4)['state_dict'].values())


def test_a_learning_rate_that_is_too_high_stops_the_run(tmp_path):
    optimizer = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1e10))
    with pytest.raises(FloatingPointError, match=r'iteration \d: loss_\w+ is (inf|nan)\. There is no checkpoint'):
        toy.runner(tmp_path, max_iters=40, optim_wrapper=optimizer, default_hooks=dict()).train()


def test_the_first_term_that_is_not_finite_is_named(tmp_path):
    class OneTerm(toy.Net):
        def forward(self, inputs, mode='tensor'):
            losses = super().forward(inputs, mode)
            return (
                losses
                if mode == 'predict'
                else dict(
                    losses, loss_small=losses['loss_small'] / 0, ratio_nan=losses['loss_near'].detach() * float('nan')
                )
            )

    with pytest.raises(
        FloatingPointError,
        match='iteration 1: loss_small is inf.*There is no checkpoint.*Check the weights that the run starts from',
    ):
        toy.runner(tmp_path, model=OneTerm()).train()
    assert saved(tmp_path) == []


def test_a_statistic_that_is_nan_is_no_error(tmp_path):
    class Statistic(toy.Net):
        def forward(self, inputs, mode='tensor'):
            losses = super().forward(inputs, mode)
            return losses if mode == 'predict' else dict(losses, acc_seg=losses['loss_near'].detach() * float('nan'))

    toy.runner(tmp_path, max_iters=2, model=Statistic()).train()


@pytest.mark.parametrize(
    ('name', 'iteration', 'kept'),
    [('layers.3.weight', 6, 'iter_4.pth'), ('layers.1.running_var', 6, 'iter_4.pth')],
)
def test_weights_that_became_nan_after_the_loss_are_not_saved(tmp_path, name, iteration, kept):
    with pytest.raises(FloatingPointError, match=f'after iteration 6, state_dict.{re.escape(name)} holds NaN'):
        toy.runner(tmp_path, hooks=(SpoilAfter(name, [iteration]),)).train()
    assert saved(tmp_path) == [kept]


def test_the_state_of_the_optimizer_is_checked(tmp_path):
    class SpoilMomentum(Hook):
        def after_train_iter(self, runner, *args, **kwargs):
            if runner.iter + 1 == 2:
                next(iter(runner.optim_wrapper.optimizer.state.values()))['momentum_buffer'][0] = float('inf')

    with pytest.raises(FloatingPointError, match='after iteration 2, optimizer.state.0.momentum_buffer holds'):
        toy.runner(tmp_path, hooks=(SpoilMomentum(),)).train()


def test_nothing_is_validated_with_weights_that_are_nan(tmp_path):
    """Here no checkpoint is due, which would be checked before."""
    with pytest.raises(FloatingPointError, match='after iteration 4, layers.3.weight holds NaN'):
        toy.runner(tmp_path, hooks=(SpoilAfter('layers.3.weight', [4]),), default_hooks=dict(checkpoint=None)).train()


def test_averaged_weights_are_checked_too_wherever_the_hook_that_averages_stands(tmp_path):
    class SpoilAverage(Hook):
        def after_train_iter(self, runner, *args, **kwargs):
            if runner.iter + 1 == 4:
                average = next(hook for hook in runner.hooks if isinstance(hook, EMAHook)).ema_model
                next(average.parameters()).data.fill_(float('nan'))

    with pytest.raises(FloatingPointError, match='after iteration 4, .*state_dict.* holds NaN'):
        toy.runner(tmp_path, hooks=(dict(type='EMAHook'), SpoilAverage())).train()
    assert saved(tmp_path) == ['iter_2.pth']


def test_a_buffer_that_is_a_mask_of_infinities_is_no_error(tmp_path):
    model = toy.Net()
    model.register_buffer('mask', torch.tensor([0.0, -float('inf')]))
    toy.runner(tmp_path, max_iters=2, model=model).train()
    assert saved(tmp_path) == ['iter_2.pth']
    load_strictly(model, toy.checkpoint(tmp_path, 2)['state_dict'], 'iter_2.pth')


# Mixed precision


@pytest.fixture
def scaled_on_cpu(monkeypatch):
    """Lets MMEngine's AmpOptimWrapper scale gradients without a GPU."""
    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
    monkeypatch.setattr(amp_optimizer_wrapper, 'GradScaler', partial(torch.amp.GradScaler, 'cpu'))


AMP = dict(type='AmpOptimWrapper', dtype='bfloat16', optimizer=dict(type='SGD', lr=0.1, momentum=0.9))


class Overflow(toy.Net):
    """A loss that is infinite in the given iterations. Batch norm never sees an infinity."""

    def __init__(self, iterations) -> None:
        super().__init__()
        self.iterations, self.count = iterations, 0

    def forward(self, inputs, mode='tensor'):
        losses = super().forward(inputs, mode)
        if mode == 'loss':
            self.count += 1
            losses['loss_small'] = losses['loss_small'] * (float('inf') if self.count in self.iterations else 1)
        return losses


def test_an_overflow_that_the_scaler_handles_is_no_error(tmp_path, scaled_on_cpu):
    toy.runner(tmp_path, model=Overflow([1, 3, 4, 7]), optim_wrapper=AMP).train()
    assert saved(tmp_path) == ['iter_8.pth']


def test_an_overflow_without_end_stops_the_run_and_names_its_start(tmp_path, scaled_on_cpu):
    model = Overflow([2, *range(4, 40)])
    hooks = [dict(type='ExactResumeHook'), dict(type='StopOnNaNHook', patience=5)]
    with pytest.raises(FloatingPointError, match='iteration 4: loss_small is inf'):
        toy.runner(tmp_path, 40, model=model, optim_wrapper=AMP, custom_hooks=hooks).train()
    assert model.count == 8


def test_the_check_does_not_synchronize_with_the_gpu(tmp_path):
    """It reads numbers that MMEngine has already copied. The outputs of the step have no values here."""
    runner = toy.runner(tmp_path)
    hook = StopOnNaNHook()
    hook.before_train(runner)
    runner.message_hub.update_scalar('train/loss', 1.0)
    hook.after_train_iter(runner, 0, None, dict(loss=torch.empty((), device='meta')))
    runner.message_hub.update_scalar('train/loss', float('nan'))
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    with pytest.raises(FloatingPointError):
        hook.after_train_iter(runner, 0, None, dict(loss=torch.empty((), device='meta')))


# The teacher


@pytest.mark.parametrize(
    ('value', 'key'), [(float('nan'), 'backbone.layer1.0.bn1.running_var'), (float('inf'), 'decode_head.conv_seg.bias')]
)
def test_a_teacher_with_nan_is_refused_with_file_and_tensor(tmp_path, value, key):
    path = tiny.save_teacher(tmp_path / 'teacher.pth')
    checkpoint = torch.load(path)
    checkpoint['state_dict'][key][0] = value
    torch.save(checkpoint, path)
    message = (
        rf"teacher_ckpt='{re.escape(path)}' holds NaN or infinity in 1 of its \d+ tensors, first in {re.escape(key)}"
    )
    with pytest.raises(ValueError, match=message):
        tiny.distillation(path)


@pytest.mark.slow
def test_train_ends_with_exit_code_1_and_the_image_of_the_bad_batch(tmp_path):
    config = runs.write_config(tmp_path, 6)
    done = runs.call(
        'train.py',
        config,
        '--work-dir',
        tmp_path / 'run',
        '--cfg-options',
        'optim_wrapper.optimizer.lr=1e10',
        check=False,
    )
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and re.match(r'FloatingPointError: iteration [2-6]: student\.\S+ is (nan|inf)', last)
    assert 'Iter(val)' not in done.stdout
    assert not any(
        'nan' in str(value)
        for name in saved(tmp_path / 'run')
        for value in torch.load(tmp_path / 'run' / name)['state_dict'].values()
    )
