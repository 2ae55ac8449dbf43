"""Losses follow the contract `DistillLoss`: mistakes are refused, and plain modules work with its defaults."""

import re

import pytest
import tiny
import torch
import torch.nn.functional as F
from catalog import LOSSES
from mmengine.registry import MODELS
from mmrazor.models.losses import ChannelWiseDivergence
from torch import nn

from mmseg_bpkd.models import losses
from mmseg_bpkd.models.losses import BPKDLoss, DistillLoss
from mmseg_bpkd.models.losses.base import MEMBERS, check_spelling, contract_of


@MODELS.register_module()
class PlainLoss(nn.Module):
    """A loss without the base class `DistillLoss`, as in other libraries."""

    def forward(self, preds_S, preds_T):
        self.received = preds_S.detach(), preds_T
        return F.mse_loss(preds_S, preds_T)


@MODELS.register_module()
class PlainLossWithAlign(PlainLoss):
    align = True


@MODELS.register_module()
class TwoTermLoss(DistillLoss):
    def forward(self, preds_S, preds_T):
        return sum(self.terms(preds_S, preds_T).values())

    def terms(self, preds_S, preds_T):
        return dict(square=F.mse_loss(preds_S, preds_T), constant=0 * preds_S.sum() + 3)


@MODELS.register_module()
class LossWithMisspeltAlign(DistillLoss):
    def __init__(self):
        super().__init__()
        self.aling = True

    def forward(self, preds_S):
        return preds_S.sum()


@MODELS.register_module()
class LossThatReturnsADict(DistillLoss):
    def forward(self, preds_S, preds_T):
        return dict(square=F.mse_loss(preds_S, preds_T))


@MODELS.register_module()
class LossWhoseTermsAreATensor(LossThatReturnsADict):
    def terms(self, preds_S, preds_T):
        return F.mse_loss(preds_S, preds_T)


@MODELS.register_module()
class AlignedLoss(DistillLoss):
    def __init__(self, align):
        super().__init__()
        self.align = align

    def forward(self, feats_S, feats_T):
        return F.mse_loss(feats_S, feats_T)


@MODELS.register_module()
class LossWithoutForward(DistillLoss):
    def terms(self, preds_S, preds_T):
        return dict(square=F.mse_loss(preds_S, preds_T))


@MODELS.register_module()
class PlainLossWithoutForward(nn.Module):
    pass


@pytest.fixture(scope='module')
def teacher_ckpt(tmp_path_factory) -> str:
    return tiny.save_teacher(tmp_path_factory.mktemp('teacher') / 'teacher.pth')


def define(base: type = DistillLoss, **attributes) -> type:
    return type('MyLoss', (base,), attributes)


def method(self):
    pass


def with_attribute(name: str, value) -> DistillLoss:
    """A loss whose constructor sets an attribute."""

    def construct(self):
        DistillLoss.__init__(self)
        setattr(self, name, value)

    return define(__init__=construct)()


MISSPELT = [
    ('aling', True, 'align'),
    ('allign', True, 'align'),
    ('any_widht', True, 'any_width'),
    ('max_grad_nrom', 15.0, 'max_grad_norm'),
    ('optim_option', {}, 'optim_options'),
    ('term', method, 'terms'),
    ('build_layer', method, 'build_layers'),
]


@pytest.mark.parametrize(('name', 'value', 'intended'), MISSPELT)
@pytest.mark.parametrize('where', ['class', 'base class', 'constructor'])
def test_a_misspelt_member_is_refused_and_the_error_names_the_right_one(where, name, value, intended):
    loss = {
        'class': lambda: define(**{name: value})(),
        'base class': lambda: define(define(BPKDLoss, **{name: value}))(),
        'constructor': lambda: with_attribute(name, value),
    }[where]()
    with pytest.raises(TypeError, match=rf"MyLoss\.{name}: .*has no member '{name}'.*did you mean '{intended}'"):
        check_spelling(loss)


@pytest.mark.parametrize(
    'name', ['tau', 'temperature', 'items', 'temps', 'terms_', 'aligner', 'max_norm', 'width', '_aling', 'training']
)
def test_other_attributes_are_the_business_of_the_author(name):
    check_spelling(define(**{name: 1.0})())
    check_spelling(with_attribute(name, 1.0))


def test_every_member_can_be_overridden():
    values = dict(align=dict(bias=False), any_width=True, one_channel=True, optim_options={}, max_grad_norm=1.0)
    defined = define(**values, **dict.fromkeys(['forward', 'terms', 'build_layers'], method))
    assert set(vars(defined)) >= set(MEMBERS)
    check_spelling(defined())
    assert {name: getattr(defined(), name) for name in values} == values


def test_our_losses_have_no_misspelt_member():
    for make in LOSSES.values():
        check_spelling(make())


def test_the_distiller_checks_the_attributes_of_its_losses(teacher_ckpt):
    with pytest.raises(TypeError, match="LossWithMisspeltAlign.aling: .*did you mean 'align'"):
        tiny.distillation(teacher_ckpt, dict(loss_x=dict(type='LossWithMisspeltAlign')))


@pytest.mark.parametrize(('align', 'bias'), [(True, True), ({}, True), (dict(bias=False), False)])
def test_align_adds_a_1x1_convolution_with_its_options(align, bias, teacher_ckpt):
    model = tiny.distillation(teacher_ckpt, dict(loss_x=dict(type='AlignedLoss', align=align))).train()
    convolution = model.distiller.connectors['loss_x_feats_S'].conv_module.conv
    assert convolution.weight.shape == (16, 8, 1, 1) and (convolution.bias is not None) is bias
    tiny.losses_of(model)['distill.loss_x'].backward()
    assert convolution.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ('align', 'error', 'message'),
    [
        ('no bias', TypeError, "AlignedLoss has align='no bias', expected True, False, or the options of the layer"),
        (None, TypeError, 'AlignedLoss has align=None, expected True, False, or the options'),
        (dict(biass=False), ValueError, "loss_x: align of AlignedLoss has ['biass']; the options of the layer are"),
        (dict(in_channel=3), ValueError, "loss_x: align of AlignedLoss has ['in_channel']; the options of the layer"),
        (False, ValueError, 'their widths differ'),
    ],
)
def test_another_align_is_refused_by_name(align, error, message, teacher_ckpt):
    with pytest.raises(error, match=re.escape(message)):
        tiny.losses_of(tiny.distillation(teacher_ckpt, dict(loss_x=dict(type='AlignedLoss', align=align))).train())


@pytest.mark.parametrize('loss', ['LossWithoutForward', 'PlainLossWithoutForward'])
def test_a_loss_without_forward_is_refused_by_name(loss, teacher_ckpt):
    with pytest.raises(TypeError, match=f'loss_x: {loss} has no forward: define it'):
        tiny.distillation(teacher_ckpt, dict(loss_x=dict(type=loss)))


@pytest.mark.parametrize(
    ('loss', 'message'),
    [
        (
            'LossThatReturnsADict',
            'loss_x: forward of LossThatReturnsADict returned a dict, expected a scalar: to log several terms, define '
            '`terms`, which returns the dict, and return their sum',
        ),
        (
            'LossWhoseTermsAreATensor',
            'loss_x: terms of LossWhoseTermsAreATensor returned a Tensor, expected {name of the term: scalar}',
        ),
    ],
)
def test_a_loss_that_returns_another_type_is_an_error_that_says_what_to_return(loss, message, teacher_ckpt):
    model = tiny.distillation(teacher_ckpt, dict(loss_x=dict(type=loss))).train()
    with pytest.raises(TypeError, match=f'^{re.escape(message)}$'):
        tiny.losses_of(model)


def test_every_exported_loss_derives_from_the_contract():
    classes = [getattr(losses, name) for name in losses.__all__]
    assert len(classes) > 10 and all(issubclass(cls, DistillLoss) for cls in classes)
    assert all(contract_of(loss) is loss for loss in (make() for make in LOSSES.values()))


def test_a_plain_module_has_the_defaults_of_the_contract():
    contract = contract_of(PlainLoss())
    assert type(contract) is DistillLoss
    assert (contract.align, contract.any_width, contract.one_channel) == (False, False, False)
    assert (contract.max_grad_norm, contract.terms) == (None, None)
    assert contract.optim_options == {} and contract.build_layers() is None


def test_plain_modules_and_mmrazors_losses_work_in_a_distiller(teacher_ckpt):
    configs = dict(loss_plain=dict(type='PlainLoss'), loss_cwd=dict(type='mmrazor.ChannelWiseDivergence', tau=4))
    model = tiny.distillation(teacher_ckpt, configs).train()
    logged = tiny.losses_of(model)
    preds_S, preds_T = model.distiller.distill_losses['loss_plain'].received
    torch.testing.assert_close(logged['distill.loss_plain'], F.mse_loss(preds_S, preds_T))
    torch.testing.assert_close(logged['distill.loss_cwd'], ChannelWiseDivergence(tau=4)(preds_S, preds_T))
    (logged['distill.loss_plain'] + logged['distill.loss_cwd']).backward()
    assert model.student.decode_head.conv_seg.weight.grad.abs().sum() > 0


@pytest.mark.parametrize('name', [name for name in MEMBERS if name != 'forward'])
def test_a_plain_module_that_declares_a_part_of_the_contract_is_refused(name):
    loss = PlainLoss()
    setattr(loss, name, True)
    with pytest.raises(TypeError, match=rf"PlainLoss has '{name}', which only losses derived from .*DistillLoss can"):
        contract_of(loss)


def test_a_distiller_refuses_a_plain_module_with_align(teacher_ckpt):
    with pytest.raises(TypeError, match="PlainLossWithAlign has 'align', .*derive it from that class"):
        tiny.distillation(teacher_ckpt, dict(loss_x=dict(type='PlainLossWithAlign')))


def test_terms_are_logged_term_by_term_and_add_up_to_forward(teacher_ckpt):
    configs = dict(loss_plain=dict(type='PlainLoss'), loss_two=dict(type='TwoTermLoss'))
    model = tiny.distillation(teacher_ckpt, configs).train()
    logged = {name: value for name, value in tiny.losses_of(model).items() if name.startswith('distill')}
    assert list(logged) == ['distill.loss_plain', 'distill.loss_two_square', 'distill.loss_two_constant']
    plain, square, constant = logged.values()
    torch.testing.assert_close(square, plain)
    assert constant.item() == 3
    two = model.distiller.distill_losses['loss_two']
    received = model.distiller.distill_losses['loss_plain'].received
    torch.testing.assert_close(two(*received), (square + constant).detach())
