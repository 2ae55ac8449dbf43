"""The channel loss of KT equals the NumPy oracles, in value and gradient."""

import catalog
import oracles
import pytest
import torch
from catalog import assert_equals, make_loss


@pytest.mark.parametrize(
    ('settings', 'oracle'),
    [
        (dict(divergence='kl', tau=4.0), lambda s, t: oracles.channel_wise(s, t, 4.0)),
        (dict(divergence='l1'), oracles.unit_l1),
        (dict(divergence='huber', delta=0.3), lambda s, t: oracles.unit_huber(s, t, 0.3)),
        (dict(divergence='huber', delta=1.0), lambda s, t: oracles.unit_huber(s, t, 1.0)),
    ],
    ids=['kl', 'l1', 'huber 0.3', 'huber 1'],
)
def test_every_divergence_of_kt_equals_its_oracle(given, settings, oracle):
    loss = make_loss('KTLoss', weight=3, **settings)
    taken = catalog.arguments(loss, given)
    assert_equals(loss, taken, lambda feats: 3 * oracle(feats, taken['feats_T'].numpy()))


def test_kt_with_kl_equals_cwd_on_features(given):
    taken = catalog.arguments(make_loss('KTLoss'), given)
    cwd = make_loss('CWDFeatureLoss', weight=1, tau=4)
    torch.testing.assert_close(make_loss('KTLoss')(**taken), cwd(**taken))


def test_an_unknown_divergence_is_refused_and_the_error_lists_the_divergences():
    with pytest.raises(ValueError, match=r"divergence must be one of .*'mse'"):
        make_loss('KTLoss', divergence='mse')
