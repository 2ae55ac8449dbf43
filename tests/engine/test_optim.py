"""Learning rates and gradient clipping of the layers that the losses train."""

import copy
from types import SimpleNamespace

import pytest
import tiny
import torch
from methods import DISTILLERS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.optim.scheduler import PolyLR

from mmseg_bpkd.engine.hooks import ClipLossGradHook
from mmseg_bpkd.engine.optim import FallingPolyLR
from mmseg_bpkd.models.segmentors import build_segmentor

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
    """Returns {parameter: (learning rate, weight decay)}."""
    wrapper = build_optim_wrapper(model, dict(OPTIM_WRAPPER, **changes))
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        names[parameter]: (group['lr'], group['weight_decay'])
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }


@pytest.mark.parametrize(
    ('method', 'layer', 'rate'),
    [('skds', '.critic.', 4e-4), ('ifvd', '.critic.', 4e-4), ('apd', '.adaptor_S.', 0.2), ('apd', '.adaptor_T.', 1e-5)],
)
def test_layers_of_a_loss_get_the_learning_rates_of_its_config(teacher_ckpt, method, layer, rate):
    found = rates(model_of(method, teacher_ckpt))
    assert any(layer in name for name in found)
    assert all(lr == pytest.approx(rate) for name, (lr, _) in found.items() if layer in name)
    assert all(lr == 0.02 for name, (lr, _) in found.items() if name.startswith('architecture.'))


def test_learning_rates_of_losses_are_merged_with_paramwise_cfg(teacher_ckpt):
    model = model_of('skds', teacher_ckpt)
    schedule = dict(norm_decay_mult=0.0, custom_keys={'decode_head': dict(lr_mult=10.0)})
    found = rates(model, paramwise_cfg=schedule)
    assert found['architecture.decode_head.conv_seg.weight'][0] == pytest.approx(0.2)
    assert found['architecture.backbone.stem.1.weight'] == (0.02, 0)
    assert found['distiller.distill_losses.loss_adversarial.critic.7.weight'][0] == pytest.approx(4e-4)
    options = model.distiller.distill_losses['loss_adversarial'].optim_options['critic']
    assert options == dict(lr=4e-4, optimizer=dict(type='Adam', betas=(0.9, 0.99)))  # unchanged


def test_losses_without_learning_rates_of_their_own_add_no_parameter_group(teacher_ckpt):
    wrapper = build_optim_wrapper(model_of('cirkd', teacher_ckpt), OPTIM_WRAPPER)
    assert len(wrapper.optimizer.param_groups) == 1


def test_a_model_without_a_distiller_gets_mmengines_parameter_groups():
    model = torch.nn.Conv2d(1, 1, 1)
    assert rates(model, paramwise_cfg=dict(bias_lr_mult=2.0)) == {'weight': (0.02, 5e-4), 'bias': (0.04, 5e-4)}


BEIT = dict(
    type='EncoderDecoder',
    data_preprocessor=tiny.PREPROCESSOR,
    backbone=dict(type='BEiT', img_size=64, embed_dims=8, num_layers=3, num_heads=2, mlp_ratio=2, out_indices=2),
    decode_head=dict(type='FCNHead', in_channels=8, channels=4, num_convs=1, num_classes=3, in_index=0),
    test_cfg=dict(mode='whole'),
)
DECAY = dict(num_layers=3, decay_rate=0.5, decay_type='layer_wise')
MMSEG = 'LearningRateDecayOptimizerConstructor'


def beit_student(method: str, teacher_ckpt: str, **changes):
    distiller = Config.fromfile(DISTILLERS[method]).distiller
    return tiny.distillation(teacher_ckpt, distiller=distiller, student=copy.deepcopy(BEIT), **changes)


@pytest.mark.parametrize('constructor', [MMSEG, 'DistillOptimWrapperConstructor'])
def test_layer_wise_learning_rates_of_a_student_are_those_of_the_network_alone(teacher_ckpt, constructor):
    model = beit_student('mgd', teacher_ckpt)
    found = rates(model, constructor=constructor, paramwise_cfg=dict(DECAY))
    alone = rates(build_segmentor(copy.deepcopy(BEIT)), constructor=MMSEG, paramwise_cfg=dict(DECAY))
    assert alone['backbone.layers.0.ln1.bias'] == (0.02 * 0.5**3, 0)  # of 3 + 2 layers, the one after the patches
    layers = {name for name, _ in model.named_parameters() if name.startswith('distiller.')}
    assert layers and found == {
        **{f'architecture.{name}': value for name, value in alone.items()},
        **dict.fromkeys(layers, (0.02, 5e-4)),
    }


def test_layer_wise_learning_rates_go_with_those_of_the_losses(teacher_ckpt):
    found = rates(beit_student('apd', teacher_ckpt), paramwise_cfg=dict(DECAY))
    adaptor = [lr for name, (lr, _) in found.items() if '.adaptor_T.' in name]
    assert adaptor == [pytest.approx(1e-5)] * len(adaptor) and adaptor
    assert found['architecture.backbone.layers.0.ln1.bias'] == (0.02 * 0.5**3, 0)


@pytest.mark.parametrize('constructor', [MMSEG, 'DistillOptimWrapperConstructor'])
@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(DECAY), "decay_type='layer_wise' of layer-wise .* is not known for the backbone ResNetV1c: both exist"),
        (dict(decay_rate=0.5), 'paramwise_cfg has no num_layers, which layer-wise learning rates need'),
    ],
)
def test_layer_wise_learning_rates_that_cannot_be_computed_are_explained(teacher_ckpt, constructor, changes, message):
    with pytest.raises(ValueError, match=message):
        rates(model_of('kd', teacher_ckpt), constructor=constructor, paramwise_cfg=changes)


def schedules(scheduler_type) -> list:
    """Learning rates of two groups in 50 steps. They start from 0.01 and 1e-5, and `eta_min` is 1e-4."""
    optimizer = torch.optim.SGD([dict(params=[torch.nn.Parameter(torch.zeros(1))], lr=lr) for lr in (0.01, 1e-5)])
    scheduler = scheduler_type(optimizer, eta_min=1e-4, power=0.9, end=50, by_epoch=False)
    steps = []
    for _ in range(50):
        steps.append([group['lr'] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return [list(rates) for rates in zip(*steps)]


def test_falling_poly_lr_keeps_a_rate_below_eta_min_which_mmengine_raises():
    (plain, raised), (ours, kept) = schedules(PolyLR), schedules(FallingPolyLR)
    assert ours == plain and plain[-1] == pytest.approx(1e-4)
    assert raised[-1] == pytest.approx(1e-4) and kept == [1e-5] * 50


def test_gradients_of_the_layers_of_a_loss_are_clipped_and_those_of_the_student_are_not(teacher_ckpt):
    model = model_of('afdcd', teacher_ckpt)
    loss = model.distiller.distill_losses['loss_afdcd']
    wrapper = build_optim_wrapper(model, OPTIM_WRAPPER)
    ClipLossGradHook().before_train(SimpleNamespace(model=model, optim_wrapper=wrapper))
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    wrapper.step()
    norm = torch.stack([parameter.grad.norm() for parameter in loss.parameters()]).norm()
    assert norm.item() == pytest.approx(15, rel=1e-3)
    assert all((parameter.grad == 3).all() for parameter in model.student.parameters())


def test_the_layers_that_align_adds_are_clipped(teacher_ckpt):
    model = model_of('fitnet', teacher_ckpt)
    model.distiller.distill_losses['loss_fitnet'].max_grad_norm = 2.0
    wrapper = build_optim_wrapper(model, OPTIM_WRAPPER)
    ClipLossGradHook().before_train(SimpleNamespace(model=model, optim_wrapper=wrapper))
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    wrapper.step()
    aligner = [*model.distiller.connectors.parameters()]
    assert torch.stack([parameter.grad.norm() for parameter in aligner]).norm().item() == pytest.approx(2, rel=1e-3)
    assert all((parameter.grad == 3).all() for parameter in model.student.parameters())


def test_clipping_norm_is_scaled_for_an_optimizer_that_unscales_the_gradients(teacher_ckpt):
    """In mixed precision, a fused optimizer receives scaled gradients and the scale."""
    model = model_of('afdcd', teacher_ckpt)
    loss = model.distiller.distill_losses['loss_afdcd']
    wrapper = build_optim_wrapper(model, OPTIM_WRAPPER)
    hook = ClipLossGradHook()
    hook.before_train(SimpleNamespace(model=model, optim_wrapper=wrapper))
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    hook._clip(SimpleNamespace(grad_scale=torch.tensor(4.0)))
    norm = torch.stack([parameter.grad.norm() for parameter in loss.parameters()]).norm()
    assert norm.item() == pytest.approx(4 * 15, rel=1e-3)


def test_no_gradient_is_clipped_without_max_grad_norm(teacher_ckpt):
    for model in (model_of('mgd', teacher_ckpt), torch.nn.Conv2d(1, 1, 1)):
        wrapper = build_optim_wrapper(model, OPTIM_WRAPPER)
        ClipLossGradHook().before_train(SimpleNamespace(model=model, optim_wrapper=wrapper))
        assert not wrapper.optimizer._optimizer_step_pre_hooks


def test_learning_rates_that_no_constructor_applied_are_an_error_also_in_mmrazors_distiller(teacher_ckpt):
    ours = model_of('skds', teacher_ckpt).distiller
    for distiller in (ours, SimpleNamespace(distill_losses=ours.distill_losses)):
        with pytest.raises(ValueError, match='set optim_wrapper.constructor to DistillOptimWrapperConstructor'):
            ClipLossGradHook().before_train(SimpleNamespace(model=SimpleNamespace(distiller=distiller)))
