"""KD and LSKD equal the NumPy oracles, and KD the losses of PyTorch, MMRazor and MMSegmentation that do the same."""

import catalog
import numpy as np
import oracles
import pytest
import torch
import torch.nn.functional as F
from catalog import arrays, assert_equals, make_loss, scene
from mmrazor.models.losses import KLDivergence

from mmseg_bpkd.models.losses import KDLoss


@pytest.mark.parametrize('tau', [1.0, 4.0])
def test_pixel_wise_loss_equals_the_oracle(tau):
    preds_S, preds_T, _ = scene()
    expected = 2 * oracles.pixel_wise(preds_S.numpy(), preds_T.numpy(), tau)
    assert KDLoss(weight=2, tau=tau)(preds_S, preds_T).item() == pytest.approx(expected, rel=1e-9)


def test_every_norm_of_pixel_wise_kd_equals_the_oracle(given):
    preds_S, preds_T = arrays(given, 'preds_S', 'preds_T')
    per_pixel = oracles.pixel_wise(preds_S, preds_T, 2)
    pixels = [image[:, y, x] for image in preds_T for y in range(4) for x in range(5)]
    entropy = np.mean([oracles.entropy(pixel, 2) for pixel in pixels])
    for settings, expected in (
        (dict(norm='pixels'), per_pixel),
        (dict(norm='elements'), per_pixel / 3),
        (dict(norm='positions'), 2 * per_pixel),
        (dict(norm='positions', cross_entropy=True), 2 * (per_pixel + entropy)),
    ):
        loss = make_loss('KDLoss', weight=7, tau=2, **settings)
        assert catalog.value(loss, given).item() == pytest.approx(7 * expected)


def test_kd_over_elements_equals_torchs_kl_div_loss_and_over_positions_equals_soft_cross_entropy(given):
    log_S, p_T = given['preds_S'].log_softmax(1), given['preds_T'].softmax(1)
    torch.testing.assert_close(
        catalog.value(make_loss('KDLoss', norm='elements'), given), torch.nn.KLDivLoss()(log_S, p_T)
    )
    soft = F.cross_entropy(given['preds_S'], p_T, reduction='sum') / 20
    loss = make_loss('KDLoss', norm='positions', cross_entropy=True)
    torch.testing.assert_close(catalog.value(loss, given), soft)


def test_an_unknown_norm_is_refused_and_the_error_lists_the_norms():
    with pytest.raises(ValueError, match=r"norm must be one of .*'images'"):
        make_loss('KDLoss', norm='images')


def test_mmrazors_kl_divergence_grows_with_the_size_of_the_map_and_ours_does_not(given):
    twice = {key: x.repeat(1, 1, 2, 2) for key, x in given.items() if 'preds' in key}
    theirs, ours = KLDivergence(), make_loss('KDLoss')
    before, after = (theirs(x['preds_S'], x['preds_T']) for x in (given, twice))
    torch.testing.assert_close(after, 4 * before)
    torch.testing.assert_close(ours(**twice), ours(given['preds_S'], given['preds_T']))


def test_mmsegs_kl_div_loss_is_not_zero_for_equal_logits_and_ours_is(given):
    from mmseg.models.losses.kldiv_loss import KLDivLoss

    preds = given['preds_T']
    assert KLDivLoss()(preds, preds).abs().max() > 1e-3 and make_loss('KDLoss')(preds, preds).abs() < 1e-12


@pytest.mark.parametrize('tau', [1.0, 2.0])
def test_lskd_equals_the_oracle(given, tau):
    standard_T = oracles.standardized(given['preds_T'].numpy())
    loss = make_loss('KDLoss', weight=9, tau=tau, standardize=True)
    taken = catalog.arguments(loss, given)
    assert_equals(loss, taken, lambda preds: 9 * oracles.pixel_wise(oracles.standardized(preds), standard_T, tau))


def test_shift_and_scale_of_the_logits_of_a_pixel_do_not_change_lskd(given):
    loss = make_loss('KDLoss', standardize=True)
    before = catalog.value(loss, given)
    scale, shift = 1 + torch.rand(2, 2, 1, 4, 5, dtype=torch.float64)
    given['preds_S'] = scale * given['preds_S'] + shift
    torch.testing.assert_close(catalog.value(loss, given), before, rtol=1e-6, atol=0)
