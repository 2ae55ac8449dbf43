"""Values and gradients of the optimised BPKD, CWD and KD equal those of `tests/reference.py`."""

import pytest
import reference
import torch

from mmseg_bpkd.models.losses import BPKDLoss, CWDLoss, KDLoss
from mmseg_bpkd.models.losses.functional import KLDivergence

VOID = 255
TOLERANCE = {torch.float32: dict(rtol=2e-5, atol=1e-7), torch.float64: dict(rtol=1e-10, atol=1e-14)}


def scene(num_classes: int, size: tuple, stride: int, dtype: torch.dtype, kind: str = 'regions') -> tuple:
    """Logits and labels of two images. The labels consist of blocks; the second image has fewer classes."""
    generator = torch.Generator().manual_seed(num_classes)
    preds_S, preds_T = 3 * torch.randn(2, 2, num_classes, *size, generator=generator, dtype=dtype)
    extent = [stride * x for x in size]
    blocks = torch.randint(0, num_classes, (2, -(-extent[0] // 6), -(-extent[1] // 6)), generator=generator)
    blocks[1] = blocks[1].clamp(max=max(1, num_classes // 2))
    gt = blocks.repeat_interleave(6, 1).repeat_interleave(6, 2)[:, : extent[0], : extent[1]].clone()
    gt[:, :3, :5] = VOID if num_classes <= VOID else -1
    if kind == 'no edges':
        gt.fill_(1)
    if kind == 'all void':
        gt.fill_(VOID if num_classes <= VOID else -1)
    return preds_S.requires_grad_(), preds_T, gt


def value_and_gradient(loss: torch.Tensor, preds_S: torch.Tensor) -> tuple:
    return loss.detach(), torch.autograd.grad(loss, preds_S)[0]


@pytest.mark.parametrize('dtype', TOLERANCE)
@pytest.mark.parametrize('kind', ['regions', 'no edges', 'all void'])
@pytest.mark.parametrize(
    ('num_classes', 'size', 'stride'),
    [
        (2, (8, 8), 8),
        (3, (5, 7), 8),
        (19, (9, 13), 4),
        (31, (8, 8), 4),
        (32, (8, 9), 4),
        (150, (12, 12), 8),
        (256, (7, 9), 8),
    ],
)
def test_bpkd_equals_the_reference(num_classes, size, stride, kind, dtype):
    preds_S, preds_T, gt = scene(num_classes, size, stride, dtype, kind)
    ignore_index = VOID if num_classes <= VOID else -1
    loss = BPKDLoss(edge_weight=20, body_weight=5, ignore_index=ignore_index)
    fast = value_and_gradient(loss(preds_S, preds_T, gt), preds_S)
    slow = value_and_gradient(
        20 * reference.bpkd_edge(preds_S, preds_T, gt, ignore_index=ignore_index)
        + 5 * reference.bpkd_body(preds_S, preds_T, gt, ignore_index=ignore_index),
        preds_S,
    )
    for ours, theirs in zip(fast, slow):
        torch.testing.assert_close(ours, theirs, **TOLERANCE[dtype])
    assert slow[1].abs().max() > 0


@pytest.mark.parametrize('num_classes', [19, 40])
def test_bpkd_equals_the_reference_if_one_image_has_all_classes_and_the_other_three(num_classes):
    preds_S, preds_T, gt = scene(num_classes, (9, 12), 8, torch.float64)
    gt[0, :60, :60] = torch.arange(100).view(10, 10).repeat_interleave(6, 0).repeat_interleave(6, 1) % num_classes
    gt[1] = num_classes - 1 - gt[1] % 3
    assert len(gt[0].unique()) >= num_classes and len(gt[1].unique()) <= 3
    fast = value_and_gradient(BPKDLoss(edge_weight=20, body_weight=5)(preds_S, preds_T, gt), preds_S)
    slow = value_and_gradient(
        20 * reference.bpkd_edge(preds_S, preds_T, gt) + 5 * reference.bpkd_body(preds_S, preds_T, gt), preds_S
    )
    for ours, theirs in zip(fast, slow):
        torch.testing.assert_close(ours, theirs, **TOLERANCE[torch.float64])


@pytest.mark.parametrize('dtype', TOLERANCE)
@pytest.mark.parametrize('tau', [1.0, 4.0])
@pytest.mark.parametrize('size', [(8, 8), (5, 7)])
@pytest.mark.parametrize(('loss', 'formula'), [(CWDLoss, reference.channel_kl), (KDLoss, reference.pixel_kl)])
def test_cwd_and_kd_equal_the_reference(loss, formula, size, tau, dtype):
    preds_S, preds_T, _ = scene(19, size, 8, dtype)
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
    preds_S, preds_T, gt = scene(7, (8, 8), 8, torch.float32)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
        loss(preds_S, preds_T, gt) if isinstance(loss, BPKDLoss) else loss(preds_S, preds_T)
    assert sum(x.numel() for x in saved if x.numel() >= preds_S.numel()) == tensors * preds_S.numel()


@pytest.mark.parametrize('num_classes', [9, 19, 150])
@pytest.mark.parametrize('dtype', [torch.uint8, torch.int32, torch.int64])
def test_the_logits_and_the_label_are_not_modified(num_classes, dtype):
    preds_S, preds_T, gt = scene(num_classes, (9, 13), 4, torch.float32)
    gt = gt.to(dtype)
    before = [x.detach().clone() for x in (preds_S, preds_T, gt)]
    BPKDLoss()(preds_S, preds_T, gt).backward()
    assert all(torch.equal(x, y) for x, y in zip((preds_S, preds_T, gt), before))
