"""Channel-wise distillation equals the NumPy oracle, MMRazor and the formula of CIRKD."""

import oracles
import pytest
import torch
from catalog import scene
from mmrazor.models.losses import ChannelWiseDivergence

from mmseg_bpkd.models.losses import BPKDLoss, CWDFeatureLoss, CWDLoss


@pytest.mark.parametrize('tau', [1.0, 4.0])
@pytest.mark.parametrize('loss', [CWDLoss, CWDFeatureLoss])
def test_channel_wise_losses_equal_the_oracle(loss, tau):
    preds_S, preds_T, _ = scene()
    expected = 3 * oracles.channel_wise(preds_S.numpy(), preds_T.numpy(), tau)
    assert loss(weight=3, tau=tau)(preds_S, preds_T).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize('tau', [1.0, 4.0])
def test_channel_wise_loss_equals_mmrazors(tau):
    preds_S, preds_T, _ = scene()
    expected = ChannelWiseDivergence(tau, loss_weight=5)(preds_S, preds_T)
    torch.testing.assert_close(CWDLoss(weight=5, tau=tau)(preds_S, preds_T), expected)


def test_cwd_as_tuned_on_camvid_is_the_default_body_term_without_its_mask():
    preds_S, preds_T, gt = scene()
    body = BPKDLoss(edge_weight=0).terms(preds_S, preds_T, torch.zeros_like(gt))['body']  # no edges, so no mask
    torch.testing.assert_close(CWDLoss(weight=5, tau=1)(preds_S, preds_T), body)


def test_cirkd_divides_cwd_on_features_by_the_width_of_the_student():
    """Its criterion: the sum of the KL over the channels of the teacher, over n * channels of the student."""
    feats_S, feats_T, width_S = torch.randn(2, 8, 3, 4), torch.randn(2, 8, 3, 4), 2  # feats_S is already aligned
    probs_S, probs_T = ((x / 4).flatten(2).softmax(2) for x in (feats_S, feats_T))
    total = (probs_T * (probs_T / probs_S).log()).sum()
    torch.testing.assert_close(CWDFeatureLoss(weight=50 * 8 / 2)(feats_S, feats_T), 50 * 16 * total / (2 * width_S))
