"""DIST equals the NumPy oracle, in value and gradient."""

import catalog
import numpy as np
import oracles
import pytest
import torch
import torch.nn.functional as F
from catalog import arrays, make_loss, terms
from mmrazor.models.losses import DISTLoss

from mmseg_bpkd.models.losses.dist import column_correlation


@pytest.mark.parametrize('tau', [1.0, 4.0])
def test_dist_equals_the_oracle(given, tau):
    inter, intra = oracles.pearson(*arrays(given, 'preds_S', 'preds_T'), tau)
    assert terms(make_loss('DISTLoss', inter_weight=3, intra_weight=5, tau=tau), given) == pytest.approx(
        dict(inter=3 * tau**2 * inter, intra=5 * tau**2 * intra)
    )


def intra_gradients(correlations, given: dict) -> list:
    """Length of the gradient of the logits of each class, for the mean of `correlations` over the classes."""
    preds_S = given['preds_S'].detach().requires_grad_()
    rows = [x.softmax(1).movedim(1, 3).flatten(0, 2) for x in (preds_S, given['preds_T'])]
    (grad,) = torch.autograd.grad(correlations(*rows).mean(), preds_S)
    return grad.movedim(1, 0).flatten(1).norm(dim=1).tolist()


def test_the_gradient_of_dist_equals_differences_of_the_oracle_and_fades_for_an_absent_class(given):
    """Class 2 is absent: its mean probability is 1e-8. With a lower bound of each norm, it weighs as much as others."""
    for side in 'ST':
        given[f'preds_{side}'][:, 2] -= 18
        assert given[f'preds_{side}'].softmax(1)[:, 2].mean() < 1e-6
    preds_S, preds_T = arrays(given, 'preds_S', 'preds_T')
    expected = np.zeros_like(preds_S)
    for place in np.ndindex(preds_S.shape):
        values = []
        for step in (1e-4, -1e-4):
            moved = preds_S.copy()
            moved[place] += step
            values.append(sum(oracles.pearson(moved, preds_T, 1)))
        expected[place] = (values[0] - values[1]) / 2e-4
    moved = given['preds_S'].detach().requires_grad_()
    (grad,) = torch.autograd.grad(make_loss('DISTLoss')(moved, given['preds_T']), moved)
    np.testing.assert_allclose(grad.numpy(), expected, atol=1e-7)

    ours = intra_gradients(column_correlation, given)
    bounded = intra_gradients(lambda a, b: F.cosine_similarity(a - a.mean(0), b - b.mean(0), dim=0, eps=1e-8), given)
    assert ours[2] < 1e-5 * ours[0] and bounded[2] > 0.3 * bounded[0]


def test_dist_and_its_gradient_are_almost_zero_for_equal_and_confident_predictions(given):
    """Not exactly: the epsilon makes the correlation of equal rows a little less than 1, more so if it is small."""
    preds_T = 10 * given['preds_T']
    preds_S = preds_T.clone().requires_grad_()
    value = make_loss('DISTLoss')(preds_S, preds_T)
    (grad,) = torch.autograd.grad(value, preds_S)
    assert abs(value.item()) < 1e-5 and grad.abs().max() < 1e-5


def test_mmrazors_dist_equals_ours_on_rows_of_pixels_but_not_on_maps(given):
    rows = [given[key].movedim(1, 3).flatten(0, 2) for key in ('preds_S', 'preds_T')]
    ours = catalog.value(make_loss('DISTLoss'), given).item()
    assert DISTLoss()(*rows).item() == pytest.approx(ours, rel=1e-3)  # the two epsilons differ
    assert DISTLoss()(given['preds_S'], given['preds_T']).item() != pytest.approx(ours, rel=0.05)
