"""Adaptive perspective distillation equals the NumPy oracle."""

import catalog
import numpy as np
import oracles
import pytest
from catalog import make_loss, terms


def test_adaptive_perspective_equals_the_oracle(given):
    given['gt'][given['gt'] == 2] = oracles.VOID  # so that class 2 does not occur
    loss = make_loss('APDLoss', map_weight=3, center_weight=5).double()
    adapted = []
    for side in 'ST':
        weights = [parameter.detach().numpy() for parameter in getattr(loss, f'adaptor_{side}').parameters()]
        adapted.append(np.array([oracles.adapted(image, weights) for image in given[f'feats_{side}'].numpy()]))
    map_, center, teacher = oracles.adaptive_perspective(*adapted, given['gt'].numpy(), 3)
    assert terms(loss, given) == pytest.approx(dict(map=3 * map_, center=5 * center, teacher=teacher))


def test_each_adaptor_gets_gradients_only_from_its_own_terms(given):
    loss = make_loss('APDLoss').double()
    parts = loss.terms(**catalog.arguments(loss, given))
    (parts['map'] + parts['center']).backward(retain_graph=True)
    assert all(parameter.grad is None for parameter in loss.adaptor_T.parameters())
    loss.zero_grad()
    parts['teacher'].backward()
    assert all(parameter.grad is None for parameter in loss.adaptor_S.parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in loss.adaptor_T.parameters())
