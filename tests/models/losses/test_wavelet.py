"""The wavelet loss of FreeKD equals the NumPy oracle, in value and gradient."""

import catalog
import oracles
import pytest
import torch
from catalog import assert_equals, make_loss

from mmseg_bpkd.models.losses.wavelet import haar_details


@pytest.mark.parametrize('levels', [1, 2, 3, 5])
def test_wavelet_loss_equals_the_oracle(given, levels):
    """The map of 4x5 is halved to 2x3, 1x2 and 1x1, so more than three levels change nothing."""
    loss = make_loss('WaveletLoss', detail_weight=3, feature_weight=7, levels=levels)
    taken = catalog.arguments(loss, given)
    feats_T = taken['feats_T'].numpy()
    assert_equals(
        loss,
        taken,
        lambda feats: 3 * oracles.wavelet_detail(feats, feats_T, levels) + 7 * oracles.mean_square(feats, feats_T),
    )


def test_forward_returns_the_sum_of_the_terms(given):
    loss = make_loss('WaveletLoss')
    taken = catalog.arguments(loss, given)
    terms = loss.terms(**taken)
    assert list(terms) == ['detail', 'feature']
    torch.testing.assert_close(loss(**taken), sum(terms.values()))


def test_an_edge_has_details_and_a_constant_map_has_none():
    flat = torch.full((1, 1, 4, 4), 3.0)
    edge = flat.clone()
    edge[..., 1:] = 5  # between the two columns of a cell
    assert all(detail.abs().max() == 0 for detail in haar_details(flat, 2))
    (first, _) = haar_details(edge, 2)
    assert first[0, 0].tolist() == [[[0, 0], [0, 0]], [[-2, 0], [-2, 0]], [[0, 0], [0, 0]]]


def test_details_keep_the_energy_of_the_map():
    """The transform is orthonormal: the squares of all coefficients sum to those of the map, without its mean."""
    feats = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    details = haar_details(feats, 3)
    energy = sum(detail.square().sum() for detail in details)
    torch.testing.assert_close(energy, (feats - feats.mean()).square().sum())


def test_a_map_of_one_position_has_no_details():
    feats_S, feats_T = torch.randn(2, 1, 3, 1, 1)
    terms = make_loss('WaveletLoss').terms(feats_S, feats_T)
    assert terms['detail'] == 0 and terms['feature'] > 0


def test_a_transform_without_levels_is_refused():
    with pytest.raises(ValueError, match='levels must be at least 1, got 0'):
        make_loss('WaveletLoss', levels=0)
