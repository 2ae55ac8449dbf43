"""Functions that several losses share: values and gradients of CWD and KD equal those of `tests/reference.py`."""

import pytest
import reference
import torch
from catalog import TOLERANCE, blocks, value_and_gradient

from mmseg_bpkd.models.losses import BPKDLoss, CWDLoss, KDLoss
from mmseg_bpkd.models.losses.functional import KLDivergence, standardize_logits, two_class_logits


@pytest.mark.parametrize('dtype', TOLERANCE)
@pytest.mark.parametrize('tau', [1.0, 4.0])
@pytest.mark.parametrize('size', [(8, 8), (5, 7)])
@pytest.mark.parametrize(('loss', 'formula'), [(CWDLoss, reference.channel_kl), (KDLoss, reference.pixel_kl)])
def test_cwd_and_kd_equal_the_reference(loss, formula, size, tau, dtype):
    preds_S, preds_T, _ = blocks(19, size, 8, dtype)
    fast = value_and_gradient(loss(weight=2, tau=tau)(preds_S, preds_T), preds_S)
    slow = value_and_gradient(2 * formula(preds_S, preds_T, tau).mean(), preds_S)
    for ours, theirs in zip(fast, slow):
        torch.testing.assert_close(ours, theirs, **TOLERANCE[dtype])


@pytest.mark.parametrize('dim', [1, 2])
@pytest.mark.parametrize('tau', [1.0, 3.0])
def test_kl_divergence_equals_the_reference_and_passes_gradcheck(tau, dim):
    preds_S, preds_T, mask = torch.randn(3, 2, 4, 5, dtype=torch.float64)
    preds_S.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: KLDivergence.apply(x, preds_T, tau, dim, None), (preds_S,))
    torch.testing.assert_close(
        KLDivergence.apply(preds_S, preds_T, tau, dim, None), reference.kl(preds_S, preds_T, tau, dim)
    )
    assert torch.autograd.gradcheck(lambda x: KLDivergence.apply(x, preds_T, tau, dim, mask), (preds_S,))
    torch.testing.assert_close(
        KLDivergence.apply(preds_S, preds_T, tau, dim, mask), reference.kl(preds_S * mask, preds_T * mask, tau, dim)
    )


@pytest.mark.parametrize(('loss', 'tensors'), [(CWDLoss(), 1), (BPKDLoss(), 2), (BPKDLoss(body_weight=0), 1)])
def test_each_term_saves_one_tensor_for_the_backward_pass(loss, tensors):
    """Counts the saved tensors that have at least as many elements as the logits."""
    preds_S, preds_T, gt = blocks(7, (8, 8), 8, torch.float32)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
        loss(preds_S, preds_T, gt) if isinstance(loss, BPKDLoss) else loss(preds_S, preds_T)
    assert sum(x.numel() for x in saved if x.numel() >= preds_S.numel()) == tensors * preds_S.numel()


@pytest.mark.parametrize('dtype', [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize('fill', [0.0, 0.1, 30.0])
def test_equal_logits_become_zero_and_get_no_gradient(fill, dtype):
    preds = torch.full((1, 150, 2, 2), fill, dtype=dtype)
    preds[:, 0, 0, 0] += 1  # the only pixel whose logits differ
    preds.requires_grad_()
    standard = standardize_logits(preds)
    (standard * torch.randn_like(standard)).sum().backward()
    assert standard[:, 0, 0, 0] > 1 and preds.grad[..., 0, 0].abs().max() > 0
    for x in (standard, preds.grad):
        assert torch.isfinite(x).all() and x.flatten(2)[..., 1:].abs().max() == 0


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_log_odds_of_half_precision_logits_are_float32(dtype):
    softmax = torch.tensor([7.0, 7.03125]).to(dtype).view(1, 2, 1, 1)
    one, two = two_class_logits(torch.ones(1, 1, 1, 1, dtype=dtype), softmax)
    assert one.dtype == two.dtype == torch.float32
    assert two[0, 1].item() == (softmax[0, 1].float() - softmax[0, 0].float()).item() / 2


@pytest.mark.parametrize('channels', [(2, 2), (3, 3), (1, 3)])
def test_other_logits_are_not_changed(channels):
    preds = [torch.randn(1, count, 2, 2) for count in channels]
    assert all(a is b for a, b in zip(two_class_logits(*preds), preds))
