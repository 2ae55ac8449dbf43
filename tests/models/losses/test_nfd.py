"""NFD equals the NumPy oracle, in value and gradient."""

import catalog
import oracles
import torch
from catalog import assert_equals, make_loss

from mmseg_bpkd.models.losses.nfd import normalize_channels


def test_nfd_equals_the_oracle(given):
    loss = make_loss('NFDLoss', weight=3)
    taken = catalog.arguments(loss, given)
    assert_equals(loss, taken, lambda feats: 3 * oracles.normalized_features(feats, taken['feats_T'].numpy()))


def test_normalized_channels_equal_torchs_instance_norm():
    feats = 5 + 3 * torch.randn(2, 4, 6, 7)
    torch.testing.assert_close(normalize_channels(feats), torch.nn.functional.instance_norm(feats))


def test_shift_and_scale_of_a_channel_do_not_change_nfd(given):
    loss = make_loss('NFDLoss')
    taken = {name: 10 * feats for name, feats in catalog.arguments(loss, given).items()}
    scale, shift = 1 + torch.rand(2, 1, 6, 1, 1, dtype=torch.float64)
    changed = dict(taken, feats_S=scale * taken['feats_S'] + shift)
    torch.testing.assert_close(loss(**changed), loss(**taken), rtol=1e-5, atol=0)
