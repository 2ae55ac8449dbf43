"""The hook that changes the weights of losses over the training."""

from types import SimpleNamespace

import pytest
import runs
import tiny
import torch
from conftest import ROOT
from methods import config_of, train
from mmengine.config import Config
from mmengine.registry import HOOKS

KD, ICSD = 'distiller.distill_losses.loss_kd', 'distiller.distill_losses.loss_icsd'
DECODE = 'architecture.decode_head.loss_decode'
LEAF = f'{ROOT}/configs/aicsd/aicsd_deeplabv3plus-r18w32_deeplabv3plus-r18w16_1xb6-4k_camvid-240x320.py'


def make_hook(**settings):
    return HOOKS.build(dict(type='AdaptiveLossWeightHook', **settings))


@pytest.fixture
def runner(tmp_path):
    losses = dict(loss_kd=dict(type='KDLoss', weight=10.0), loss_icsd=dict(type='AICSDLoss', weight=0.1))
    return SimpleNamespace(
        model=tiny.distillation(tiny.save_teacher(tmp_path / 'teacher.pth'), losses), iter=0, max_iters=8
    )


def test_weights_rise_and_fall_linearly(runner):
    hook = make_hook(rising=[ICSD, DECODE], falling=[KD])
    hook.before_train(runner)
    losses = {name: runner.model.get_submodule(name) for name in (KD, ICSD, DECODE)}
    for i, expected in ((0, (10, 0, 0)), (2, (7.5, 0.025, 0.25)), (6, (2.5, 0.075, 0.75))):
        runner.iter = i
        hook.before_train_iter(runner, 0)
        found = losses[KD].weight, losses[ICSD].weight, losses[DECODE].loss_weight
        assert found == pytest.approx(expected)


def test_the_losses_of_a_step_have_the_weights_of_its_iteration(runner):
    """Including the student's cross-entropy, whose gradient is computed in the forward pass."""
    runner.model.train()
    hook = make_hook(rising=[DECODE], falling=[KD])
    hook.before_train(runner)
    names = ('distill.loss_kd', 'student.decode.loss_ce', 'distill.loss_icsd')
    values, gradients = [], []
    for runner.iter in (2, 4):
        hook.before_train_iter(runner, 0)
        torch.manual_seed(0)
        losses = tiny.losses_of(runner.model)
        values.append([losses[name].item() for name in names])
        (gradient,) = torch.autograd.grad(
            losses['student.decode.loss_ce'], runner.model.student.decode_head.conv_seg.bias
        )
        gradients.append(gradient)
    early, late = values
    assert [b / a for a, b in zip(early, late)] == pytest.approx([0.5 / 0.75, 2, 1], rel=1e-4)
    torch.testing.assert_close(gradients[1], 2 * gradients[0], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(rising=['distiller.loss_ksd']), r'distiller\.loss_ksd must be a loss .* got nothing'),
        (dict(falling=['architecture.backbone.conv1']), 'must be a loss .* got'),
    ],
)
def test_names_of_other_modules_are_refused_before_training(runner, settings, message):
    with pytest.raises(ValueError, match=message):
        make_hook(**settings).before_train(runner)


def test_a_loss_that_is_named_twice_is_refused():
    with pytest.raises(ValueError, match=r"\['a'\] more than once"):
        make_hook(rising=['a', 'b'], falling=['a'])


@pytest.mark.slow
def test_a_resumed_run_of_aicsd_gives_bit_identical_weights(tmp_path):
    hook = Config.fromfile(LEAF).weights.to_dict()
    more = f'custom_hooks = [*_base_.custom_hooks, {hook}]'
    cfg = Config.fromfile(config_of('aicsd', tmp_path, 4, more))
    cfg.work_dir = str(tmp_path)
    whole = train(cfg, 'whole_adaptive')
    resumed = train(cfg, 'resumed_adaptive', f'{whole}/iter_2.pth')
    without = cfg.copy()
    without.custom_hooks = [hook for hook in cfg.custom_hooks if hook.type != 'AdaptiveLossWeightHook']
    constant = train(without, 'constant')
    whole, resumed, constant = (runs.student(f'{folder}/iter_4.pth') for folder in (whole, resumed, constant))
    assert runs.same(whole, resumed) and not runs.same(whole, constant)


def test_the_leaf_of_aicsd_names_losses_of_its_model(tmp_path):
    cfg = Config.fromfile(LEAF)
    model = tiny.distillation(tiny.save_teacher(tmp_path / 'teacher.pth'), cfg.model.distiller.losses.to_dict())
    hook = HOOKS.build(cfg.weights)
    hook.before_train(SimpleNamespace(model=model))
    assert len(hook.initial) == 4
    assert [hook.type for hook in cfg.custom_hooks] == [
        'ExactResumeHook',
        'ClipLossGradHook',
        'AdaptiveLossWeightHook',  # experiments/camvid_stride4/below_student names it custom_hooks.2
        'StopOnNaNHook',
        'SaveOnSignalHook',
        'ProgressHook',
    ]
