"""FitNet equals the NumPy oracle, MMRazor and the formula of CIRKD."""

import catalog
import oracles
import pytest
import tiny
import torch
from catalog import make_loss
from mmrazor.models.losses import L2Loss

from mmseg_bpkd.models.losses import FitNetLoss


@pytest.fixture(scope='module')
def teacher_ckpt(tmp_path_factory) -> str:
    return tiny.save_teacher(tmp_path_factory.mktemp('teacher') / 'teacher.pth')


def test_fitnet_equals_the_oracle_and_mmrazors_l2_loss(given):
    loss = make_loss('FitNetLoss', weight=3)
    taken = catalog.arguments(loss, given)
    value = loss(**taken)
    assert value.item() == pytest.approx(3 * oracles.mean_square(taken['feats_S'].numpy(), taken['feats_T'].numpy()))
    theirs = L2Loss(3, normalize=False, div_element=True)
    torch.testing.assert_close(value, theirs(taken['feats_S'], taken['feats_T']))


@pytest.mark.parametrize('bias', [False, True])
def test_fitnet_with_its_aligner_equals_cirkds_formula(teacher_ckpt, bias):
    model = tiny.distillation(teacher_ckpt, dict(loss_fitnet=dict(type='FitNetLoss', bias=bias))).train()
    convolution = model.distiller.connectors['loss_fitnet_feats_S'].conv_module.conv
    assert (convolution.bias is not None) is bias
    recorded = {}
    loss = model.distiller.distill_losses['loss_fitnet']
    loss.register_forward_hook(lambda _, arguments, kwargs, output: recorded.update(kwargs), with_kwargs=True)
    value = tiny.losses_of(model)['distill.loss_fitnet']
    assert value.item() == pytest.approx(10 * (recorded['feats_S'] - recorded['feats_T']).square().mean().item())


def test_the_default_arguments_of_fitnet_are_those_of_its_recipe():
    loss = FitNetLoss()
    assert (loss.weight, loss.align) == (10, dict(bias=False))
