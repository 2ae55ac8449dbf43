"""Learning rates and clipping of what a distiller trains beside the student."""

from types import SimpleNamespace

import pytest
import tiny
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.optim.scheduler import PolyLR
from test_methods import DISTILLERS

from mmseg_bpkd.hooks import LossPartsHook
from mmseg_bpkd.optim import FallingPolyLR

OPTIM_WRAPPER = dict(
    type='OptimWrapper',
    constructor='DistillOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=5e-4),
)


@pytest.fixture(scope='module')
def teacher_ckpt(tmp_path_factory) -> str:
    return tiny.save_teacher(tmp_path_factory.mktemp('teacher') / 'teacher.pth')


def model_of(method: str, teacher_ckpt: str):
    return tiny.distillation(teacher_ckpt, distiller=Config.fromfile(DISTILLERS[method]).distiller).train()


def rates(model, **changes) -> dict:
    """{parameter: (learning rate, weight decay)}"""
    wrapper = build_optim_wrapper(model, dict(OPTIM_WRAPPER, **changes))
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        names[parameter]: (group['lr'], group['weight_decay'])
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }


@pytest.mark.parametrize(
    ('method', 'part', 'rate'),
    [('skds', '.critic.', 4e-4), ('ifvd', '.critic.', 4e-4), ('apd', '.adaptor_S.', 0.2), ('apd', '.adaptor_T.', 1e-5)],
)
def test_the_parts_of_a_method_learn_at_the_rates_that_its_config_says(teacher_ckpt, method, part, rate):
    found = rates(model_of(method, teacher_ckpt))
    assert any(part in name for name in found)
    assert all(lr == pytest.approx(rate) for name, (lr, _) in found.items() if part in name)
    assert all(lr == 0.02 for name, (lr, _) in found.items() if name.startswith('architecture.'))


def test_the_rates_are_merged_over_those_of_the_optimisers_config(teacher_ckpt):
    model = model_of('skds', teacher_ckpt)
    schedule = dict(norm_decay_mult=0.0, custom_keys={'decode_head': dict(lr_mult=10.0)})
    found = rates(model, paramwise_cfg=schedule)
    assert found['architecture.decode_head.conv_seg.weight'][0] == pytest.approx(0.2)
    assert found['architecture.backbone.stem.1.weight'] == (0.02, 0)
    assert found['distiller.distill_losses.loss_adversarial.critic.7.weight'][0] == pytest.approx(4e-4)
    assert model.distiller.distill_losses['loss_adversarial'].optim_options == dict(critic=dict(lr=4e-4))  # as it was


def test_a_method_without_rates_of_its_own_leaves_the_optimiser_one_group(teacher_ckpt):
    wrapper = build_optim_wrapper(model_of('cirkd', teacher_ckpt), OPTIM_WRAPPER)
    assert len(wrapper.optimizer.param_groups) == 1


def test_a_plain_model_is_optimised_as_by_mmengine():
    model = torch.nn.Conv2d(1, 1, 1)
    assert rates(model, paramwise_cfg=dict(bias_lr_mult=2.0)) == {'weight': (0.02, 5e-4), 'bias': (0.04, 5e-4)}


def courses(scheduler_type) -> list:
    """Rates of two groups, from 0.01 and from 1e-5, over 50 steps down to 1e-4."""
    optimizer = torch.optim.SGD([dict(params=[torch.nn.Parameter(torch.zeros(1))], lr=lr) for lr in (0.01, 1e-5)])
    scheduler = scheduler_type(optimizer, eta_min=1e-4, power=0.9, end=50, by_epoch=False)
    course = []
    for _ in range(50):
        course.append([group['lr'] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return [list(rates) for rates in zip(*course)]


def test_a_rate_below_the_schedules_least_is_kept_where_mmengine_raises_it():
    (plain, raised), (ours, kept) = courses(PolyLR), courses(FallingPolyLR)
    assert ours == plain and plain[-1] == pytest.approx(1e-4)
    assert raised[-1] == pytest.approx(1e-4) and kept == [1e-5] * 50


def test_the_gradient_of_a_losss_parts_is_clipped_and_the_students_is_not(teacher_ckpt):
    model = model_of('afdcd', teacher_ckpt)
    loss = model.distiller.distill_losses['loss_afdcd']
    wrapper = build_optim_wrapper(model, OPTIM_WRAPPER)
    LossPartsHook().before_train(SimpleNamespace(model=model, optim_wrapper=wrapper))
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    wrapper.step()
    norm = torch.stack([parameter.grad.norm() for parameter in loss.parameters()]).norm()
    assert norm.item() == pytest.approx(15, rel=1e-3)
    assert all((parameter.grad == 3).all() for parameter in model.student.parameters())


def test_for_an_optimiser_that_unscales_by_itself_the_norm_is_scaled(teacher_ckpt):
    """A fused one is given scaled gradients with mixed precision, and the scale."""
    model = model_of('afdcd', teacher_ckpt)
    loss = model.distiller.distill_losses['loss_afdcd']
    wrapper = build_optim_wrapper(model, OPTIM_WRAPPER)
    hook = LossPartsHook()
    hook.before_train(SimpleNamespace(model=model, optim_wrapper=wrapper))
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    hook._clip(SimpleNamespace(grad_scale=torch.tensor(4.0)))
    norm = torch.stack([parameter.grad.norm() for parameter in loss.parameters()]).norm()
    assert norm.item() == pytest.approx(4 * 15, rel=1e-3)


def test_without_a_loss_that_asks_nothing_is_clipped(teacher_ckpt):
    for model in (model_of('mgd', teacher_ckpt), torch.nn.Conv2d(1, 1, 1)):
        wrapper = build_optim_wrapper(model, OPTIM_WRAPPER)
        LossPartsHook().before_train(SimpleNamespace(model=model, optim_wrapper=wrapper))
        assert not wrapper.optimizer._optimizer_step_pre_hooks


def test_rates_that_nobody_read_are_an_error_also_in_mmrazors_own_distiller(teacher_ckpt):
    ours = model_of('skds', teacher_ckpt).distiller
    for distiller in (ours, SimpleNamespace(distill_losses=ours.distill_losses)):
        with pytest.raises(ValueError, match='set optim_wrapper.constructor to DistillOptimWrapperConstructor'):
            LossPartsHook().before_train(SimpleNamespace(model=SimpleNamespace(distiller=distiller)))
