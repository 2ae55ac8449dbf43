"""Layers of a loss can have an optimizer of their own, which behaves as a part of the student's."""

import copy
import io
from contextlib import nullcontext
from functools import partial

import pytest
import test_distributed
import tiny
import torch
from methods import DISTILLERS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.optim.optimizer import amp_optimizer_wrapper
from test_optim import OPTIM_WRAPPER, model_of
from torch import nn

from mmseg_bpkd.engine.optim import CombinedOptimizer, FallingPolyLR
from mmseg_bpkd.models.losses import APDLoss, SKDSCriticLoss

WITH_CRITIC = ['skds', 'ifvd', 'skds_original', 'ifvd_original', 'cwd_cirkd']
OWN_OPTIMIZER = [*WITH_CRITIC, 'apd']
CRITIC = 'distiller.distill_losses.loss_adversarial.critic'


@pytest.fixture(scope='module')
def teacher_ckpt(tmp_path_factory) -> str:
    return tiny.save_teacher(tmp_path_factory.mktemp('teacher') / 'teacher.pth')


def build(model, **changes):
    return build_optim_wrapper(model, copy.deepcopy(dict(OPTIM_WRAPPER, **changes)))


def weights(model) -> dict:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def changed(model, before: dict) -> set:
    """Which of 'critic' and 'student' have a parameter that differs from `before`."""
    differing = [name for name, value in weights(model).items() if not torch.equal(value, before[name])]
    return {'critic' if name.startswith(CRITIC) else 'student' for name in differing}


def reloaded(state: dict) -> dict:
    """Writes and reads a state as a checkpoint does."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


# What is built


@pytest.mark.parametrize('method', [method for method in DISTILLERS if method not in OWN_OPTIMIZER])
def test_other_methods_get_the_optimizer_that_mmengine_builds(teacher_ckpt, method):
    model = model_of(method, teacher_ckpt)
    ours, plain = build(model), build(model, constructor='DefaultOptimWrapperConstructor')
    assert type(ours.optimizer) is type(plain.optimizer) is torch.optim.SGD
    assert ours.state_dict() == plain.state_dict()
    for group, expected in zip(ours.optimizer.param_groups, plain.optimizer.param_groups):
        assert all(a is b for a, b in zip(group['params'], expected['params']))


@pytest.mark.parametrize('method', OWN_OPTIMIZER)
def test_only_the_layers_that_ask_for_it_have_an_optimizer_of_their_own(teacher_ckpt, method):
    model = model_of(method, teacher_ckpt)
    optimizer = build(model).optimizer
    assert isinstance(optimizer, CombinedOptimizer)
    student, own = optimizer.optimizers
    layer = 'distiller.distill_losses.loss_apd.adaptor_T' if method == 'apd' else CRITIC
    assert optimizer.layers == [layer]
    assert own.param_groups[0]['params'] == list(model.get_submodule(layer).parameters())
    taken = [parameter for group in student.param_groups for parameter in group['params']]
    others = [parameter for name, parameter in model.named_parameters() if not name.startswith(f'{layer}.')]
    assert {id(parameter) for parameter in taken} == {id(parameter) for parameter in others}
    assert len(taken) == len(others) and type(student) is torch.optim.SGD
    assert len(student.param_groups) == (1 if method != 'apd' else len(others))  # of APD, a layer has an lr_mult


@pytest.mark.parametrize(
    ('method', 'expected'),
    [
        ('skds', dict(type=torch.optim.Adam, lr=4e-4, betas=(0.9, 0.99), weight_decay=0)),
        ('ifvd_original', dict(type=torch.optim.Adam, lr=4e-4, betas=(0.9, 0.99), weight_decay=0)),
        ('skds_original', dict(type=torch.optim.SGD, lr=4e-4, momentum=0.9, weight_decay=5e-4)),
        ('apd', dict(type=torch.optim.Adam, lr=1e-5, betas=(0.9, 0.99), weight_decay=0)),
    ],
)
def test_the_own_optimizer_has_the_settings_of_the_authors_with_any_optimizer_of_the_student(
    teacher_ckpt, method, expected
):
    model = model_of(method, teacher_ckpt)
    for settings in (OPTIM_WRAPPER['optimizer'], dict(type='AdamW', lr=6e-5, weight_decay=0.01)):
        own = build(model, optimizer=settings).optimizer.optimizers[1]
        assert dict({key: own.param_groups[0].get(key) for key in expected}, type=type(own)) == expected


def test_settings_of_paramwise_cfg_apply_to_the_student_and_not_to_the_own_optimizer(teacher_ckpt):
    model = model_of('skds', teacher_ckpt)
    optimizer = build(
        model, paramwise_cfg=dict(norm_decay_mult=0.0, custom_keys={'head': dict(lr_mult=10.0)})
    ).optimizer
    rates = {name: group['lr'] for group in optimizer.param_groups for name in [id(group['params'][0])]}
    assert rates[id(model.student.decode_head.conv_seg.weight)] == pytest.approx(0.2)
    assert optimizer.param_groups[-1]['lr'] == 4e-4 and len(optimizer.param_groups[-1]['params']) > 1


def test_without_an_own_optimizer_the_layer_follows_the_students():
    loss = SKDSCriticLoss(critic_lr=1e-3, critic_optimizer=None)
    model = distillation(loss)
    optimizer = build(model).optimizer
    assert type(optimizer) is torch.optim.SGD
    rates = {id(parameter): group['lr'] for group in optimizer.param_groups for parameter in group['params']}
    assert rates[id(loss.critic[7].weight)] == pytest.approx(1e-3) and rates[id(model.student)] == 0.02


def distillation(loss) -> nn.Module:
    """A model with one loss on its two classes, and a student that has a parameter but no effect."""
    loss.build_layers(num_classes=2)
    model = nn.Module()
    model.student = nn.Parameter(torch.zeros(1))
    model.distiller = nn.Module()
    model.distiller.distill_losses = nn.ModuleDict(dict(loss_x=loss))
    return model


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(critc=dict(lr=1e-3)), r'given for .*loss_x\.critc, which has no parameters'),
        (
            dict(critic=dict(lr=1e-3, lr_mult=2, optimizer=dict(type='Adam'))),
            r"\['lr', 'lr_mult'\], expected lr beside",
        ),
        (dict(critic=dict(optimizer=dict(type='Adam', lr=1e-3))), r'\[\], expected lr beside'),
    ],
)
def test_wrong_options_of_a_layer_are_an_error_that_names_it(options, message):
    model = distillation(SKDSCriticLoss())
    model.distiller.distill_losses['loss_x'].optim_options = options
    with pytest.raises(ValueError, match=message):
        build(model)


# How it trains


@pytest.mark.slow
def test_the_gradient_penalty_of_the_critic_falls_below_a_tenth_within_100_steps():
    """On random logits of a fixed student. With the student's SGD, it is still 0.96 after 40 steps."""
    torch.manual_seed(0)
    loss = SKDSCriticLoss()
    wrapper = build(distillation(loss))
    penalties = []
    for _ in range(50):
        preds_S, preds_T = torch.randn(2, 2, 64, 64), 2 * torch.randn(2, 2, 64, 64)
        terms = loss.terms(preds_S, preds_T)
        wrapper.update_params(sum(terms.values()))
        penalties.append(terms['penalty'].item())  # critic_weight * gradient_penalty is 1
    assert penalties[0] > 0.8 and sum(penalties[-10:]) / 10 < 0.1


def test_the_schedule_of_the_student_applies_to_the_own_optimizer_from_its_own_rate(teacher_ckpt):
    wrapper = build(model_of('skds', teacher_ckpt))
    scheduler = FallingPolyLR(wrapper, eta_min=1e-4, power=1.0, end=11, by_epoch=False)
    for _ in range(5):
        wrapper.optimizer.step()
        scheduler.step()
    student, own = wrapper.optimizer.optimizers
    assert student.param_groups[0]['lr'] == pytest.approx((0.02 + 1e-4) / 2)
    assert own.param_groups[0]['lr'] == pytest.approx((4e-4 + 1e-4) / 2)
    assert wrapper.get_lr()['lr'][0] == student.param_groups[0]['lr'] == wrapper.get_lr()['base_lr'][0]  # is logged


def test_optim_wrapper_clips_the_gradients_of_all_optimizers(teacher_ckpt):
    model = model_of('skds', teacher_ckpt)
    wrapper = build(model, clip_grad=dict(max_norm=1.0))
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    wrapper.step()
    norm = torch.cat([parameter.grad.flatten() for parameter in model.parameters()]).norm()
    assert norm.item() == pytest.approx(1, rel=1e-2)  # of 1e6 numbers in float32


def batches(count: int) -> list:
    return [tiny.batch(4, seed=seed) for seed in range(count)]


def test_two_accumulated_halves_of_a_batch_give_the_weights_of_one_batch(teacher_ckpt, monkeypatch):
    """In float64, without batch norm, dropout and power iterations, which connect images or count forward passes."""
    distiller = Config.fromfile(DISTILLERS['skds']).distiller.to_dict()
    monkeypatch.setattr(torch, 'rand', test_distributed.same_numbers_for_every_image)
    results = []
    for parts in (1, 2):
        model = test_distributed.model_of(distiller, teacher_ckpt)
        model.distiller.distill_losses['loss_adversarial'].critic.eval()
        wrapper = build(model, accumulative_counts=parts)
        before = weights(model)
        for data in batches(2):
            for i in range(parts):
                part = {key: value[i * 4 // parts : (i + 1) * 4 // parts] for key, value in data.items()}
                with wrapper.optim_context(model):
                    values = model(**model.data_preprocessor(part, True), mode='loss')
                wrapper.update_params(sum(value for key, value in values.items() if 'loss' in key))
        assert changed(model, before) == {'critic', 'student'}
        results.append(weights(model))
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name], value, rtol=1e-7, atol=1e-9)


# Mixed precision


@pytest.fixture
def scaled_on_cpu(monkeypatch):
    """Lets MMEngine's AmpOptimWrapper scale gradients without a GPU."""
    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
    monkeypatch.setattr(amp_optimizer_wrapper, 'GradScaler', partial(torch.amp.GradScaler, 'cpu'))


@pytest.fixture
def scaled_in_float32(scaled_on_cpu, monkeypatch):
    monkeypatch.setattr('mmengine.runner.amp.autocast', lambda dtype: nullcontext())


def train(model, wrapper, steps: int = 3) -> None:
    torch.manual_seed(0)
    for data in batches(steps):
        model.train_step(data, wrapper)


def test_scaled_gradients_give_the_weights_of_unscaled_ones(teacher_ckpt, scaled_in_float32):
    """Bit for bit, because the scale is a power of two."""
    results = []
    for settings in (dict(type='OptimWrapper'), dict(type='AmpOptimWrapper')):
        model = model_of('skds', teacher_ckpt)
        train(model, build(model, **settings))
        results.append(weights(model))
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


def test_bfloat16_trains_the_critic_and_the_student(teacher_ckpt, scaled_on_cpu):
    model = model_of('skds', teacher_ckpt)
    before = weights(model)
    train(model, build(model, type='AmpOptimWrapper', dtype='bfloat16'))
    assert changed(model, before) == {'critic', 'student'}
    assert all(torch.isfinite(value).all() for value in weights(model).values())


@pytest.mark.parametrize('where', ['critic', 'student'])
def test_an_overflow_anywhere_skips_the_step_of_all_optimizers_and_halves_the_scale(
    teacher_ckpt, scaled_in_float32, where
):
    model = model_of('skds', teacher_ckpt)
    wrapper = build(model, type='AmpOptimWrapper')
    critic = model.distiller.distill_losses['loss_adversarial'].critic[7].weight
    parameter = critic if where == 'critic' else model.student.decode_head.conv_seg.weight
    handle = parameter.register_hook(lambda grad: torch.full_like(grad, float('inf')))
    before, scale = weights(model), wrapper.loss_scaler.get_scale()
    train(model, wrapper, 1)
    assert changed(model, before) == set() and wrapper.loss_scaler.get_scale() == scale / 2
    handle.remove()
    train(model, wrapper, 1)
    assert changed(model, before) == {'critic', 'student'}


# Checkpoints. `config/test_methods.py` resumes whole runs.


@pytest.mark.parametrize('method', ['skds', 'apd'])
def test_a_loaded_state_continues_bit_for_bit(teacher_ckpt, method):
    model = model_of(method, teacher_ckpt)
    wrapper = build(model)
    train(model, wrapper, 2)
    saved = reloaded(dict(model=model.state_dict(), optimizer=wrapper.state_dict()))
    other = model_of(method, teacher_ckpt)
    other.load_state_dict(saved['model'])
    resumed = build(other)
    resumed.load_state_dict(saved['optimizer'])
    assert resumed.optimizer.optimizers[1].param_groups[0] is resumed.optimizer.param_groups[-1]
    for run in ((model, wrapper), (other, resumed)):
        train(*run, 2)
    assert all(torch.equal(value, weights(model)[name]) for name, value in weights(other).items())


def test_a_state_of_one_optimizer_is_refused_with_the_setting_that_continues_it(teacher_ckpt):
    model = model_of('skds', teacher_ckpt)
    plain = build(model, constructor='DefaultOptimWrapperConstructor')
    with pytest.raises(
        ValueError, match=r"a single optimizer, expected \['SGD', 'Adam'\].*critic.*critic_optimizer=None"
    ):
        build(model).load_state_dict(reloaded(plain.state_dict()))


def test_without_an_optimizer_of_its_own_a_layer_loads_a_state_with_one_group_per_parameter():
    """MMEngine creates such groups for a layer with its own learning rate."""
    model = distillation(SKDSCriticLoss(critic_optimizer=None))
    wrapper = build(model)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    wrapper.step()
    state = reloaded(wrapper.state_dict())
    assert 'optimizers' not in state and len(state['param_groups']) == len(list(model.parameters()))
    build(model).load_state_dict(state)


def test_apd_without_an_own_optimizer_has_the_learning_rates_of_version_0_1():
    assert APDLoss(teacher_optimizer=None).optim_options['adaptor_T'] == dict(lr=1e-5, optimizer=None)
