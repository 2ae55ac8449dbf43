"""All losses of the package, and small records to call them with that a reader can check by eye."""

import copy
from collections.abc import Callable
from inspect import signature

import numpy as np
import oracles
import pytest
import torch
from torch import nn

from mmseg_bpkd.models import losses
from mmseg_bpkd.models.distillers.seg_distiller import with_two_classes

CLASSES, FEATS_S, FEATS_T, STAGE_S, STAGE_T = 3, 4, 6, 4, 8
WIDTHS = dict(num_classes=CLASSES, feats_S=FEATS_S, feats_T=FEATS_T, stage_S=STAGE_S, stage_T=STAGE_T)


def make_loss(name: str, **settings) -> nn.Module:
    """Builds a loss with the layers that it needs for `records`."""
    loss = getattr(losses, name)(**settings)
    loss.build_layers(**{key: WIDTHS[key] for key in signature(loss.build_layers).parameters})
    return loss


LOSSES: dict[str, Callable[[], nn.Module]] = {
    'bpkd': lambda: make_loss('BPKDLoss'),
    'bpkd as in the paper': lambda: make_loss(
        'BPKDLoss', edge_weight=50, body_weight=20, class_weight=2, edge_norm='paper'
    ),
    'bpkd without PRM': lambda: make_loss('BPKDLoss', pre_mask=False),
    'bpkd without POM': lambda: make_loss('BPKDLoss', post_mask=False),
    'bpkd with swapped softmax dimensions': lambda: make_loss('BPKDLoss', edge_over='positions', body_over='classes'),
    'bpkd without the edges in the body': lambda: make_loss('BPKDLoss', body_mask='remove'),
    'bpkd by the words of the paper': lambda: make_loss(
        'BPKDLoss', pre_mask='suppress', edge_norm='mean', body_mask='binary', edge_weight=50, body_weight=20
    ),
    'bpkd with a mean over the edge': lambda: make_loss('BPKDLoss', pre_mask=False, edge_norm='edge'),
    'bpkd with class weights by area': lambda: make_loss('BPKDLoss', class_weight='inverse_sqrt_area'),
    'bpkd with binary removal': lambda: make_loss('BPKDLoss', edge_norm='edge', body_mask='binary_remove'),
    'bpkd with standardized logits': lambda: make_loss('BPKDLoss', standardize=True),
    'kd': lambda: make_loss('KDLoss'),
    'kd as a mean over elements': lambda: make_loss('KDLoss', norm='elements'),
    'kd as in SKDS': lambda: make_loss('KDLoss', weight=10, norm='positions', cross_entropy=True),
    'lskd': lambda: make_loss('KDLoss', weight=9, tau=2, standardize=True),
    'fitnet': lambda: make_loss('FitNetLoss'),
    'at': lambda: make_loss('ATLoss'),
    'local affinity': lambda: make_loss('LocalAffinityLoss'),
    'skds pairs': lambda: make_loss('SKDSPairLoss'),
    'skds pairs on a 2x2 grid': lambda: make_loss('SKDSPairLoss', kernel=0.5, weight=0.5),
    'skds pairs as in SKDS': lambda: make_loss('SKDSPairLoss', kernel=0.5, weight=0.5, detach_norm=True),
    'critic': lambda: make_loss('SKDSCriticLoss'),
    'ifvd': lambda: make_loss('IFVDLoss'),
    'cwd': lambda: make_loss('CWDLoss'),
    'cwd on features': lambda: make_loss('CWDFeatureLoss'),
    'cirkd': lambda: make_loss('CIRKDLoss', pixel_memory=40, region_memory=5, pixels_per_class=20),
    'cirkd without memories': lambda: make_loss('CIRKDLoss', pixel_weight=0, region_weight=0),
    'apd': lambda: make_loss('APDLoss'),
    'dist': lambda: make_loss('DISTLoss'),
    'mgd': lambda: make_loss('MGDLoss'),
    'afdcd': lambda: make_loss('AfDCDLoss', groups=2),
    'nfd': lambda: make_loss('NFDLoss'),
    'aicsd': lambda: make_loss('AICSDLoss'),
    'aicsd with normalized rows': lambda: make_loss('AICSDLoss', normalize=True),
    'kt channel': lambda: make_loss('KTLoss'),
    'kt channel, l1': lambda: make_loss('KTLoss', divergence='l1'),
    'kt channel, huber': lambda: make_loss('KTLoss', divergence='huber', delta=0.3),
    'wavelet': lambda: make_loss('WaveletLoss'),
}
# If student and teacher agree.
NOT_ZERO = ('kd as in SKDS', 'critic', 'cirkd', 'apd', 'dist', 'mgd', 'afdcd')
DIVERGENCES = [name for name in LOSSES if name not in NOT_ZERO]
TOLERANCE = {torch.float32: dict(rtol=2e-5, atol=1e-7), torch.float64: dict(rtol=1e-10, atol=1e-14)}
LABEL = oracles.grid("""
    . . 0 0 0 1 1 1 1 1
    . . 0 0 0 1 1 1 1 1
    0 0 0 0 0 1 1 1 1 1
    0 0 0 0 0 1 1 1 1 1
    0 0 0 0 0 1 1 1 1 1
    0 0 0 0 0 1 1 1 1 1
    2 2 2 0 0 1 1 1 1 1
    2 2 2 0 0 1 1 1 1 1""")
OTHER_LABEL = oracles.grid("""
    . . 0 0 0 0 0 1 0 0
    . . 0 0 0 0 0 1 0 0
    0 0 0 0 0 0 0 1 0 0
    0 0 0 0 0 0 0 1 0 0
    2 2 2 2 2 2 2 1 2 2
    2 2 2 2 2 2 2 1 2 2
    2 2 2 2 2 2 2 1 2 2
    2 2 2 2 2 2 2 1 2 2""")


def records(dtype: torch.dtype = torch.float64) -> dict:
    """Records of two images: logits, features and stages of 4x5 cells, and labels of 8x10 pixels with void."""

    def pair(*shape):
        return torch.randn(2, *shape, 4, 5, dtype=torch.float64).to(dtype)

    return dict(
        preds_S=pair(CLASSES),
        preds_T=pair(CLASSES),
        feats_S=pair(FEATS_S),
        feats_T=pair(FEATS_T),
        stage_S=pair(STAGE_S),
        stage_T=pair(STAGE_T),
        gt=torch.tensor([LABEL.tolist(), OTHER_LABEL.tolist()]),
    )


def arguments(loss: nn.Module, given: dict) -> dict:
    """Selects the arguments of `loss.forward`, as a `SegDistiller` passes them.

    `feats_S` has the width of the teacher if `loss.align` is set. One-channel logits become those of two classes.
    """
    taken = {name: given[name] for name in signature(loss.forward).parameters}
    if loss.align:
        taken['feats_S'] = taken['feats_S'].repeat(1, 2, 1, 1)[:, :FEATS_T]
    return with_two_classes(loss, taken)


def value(loss: nn.Module, given: dict, seed: int = 5) -> torch.Tensor:
    """Computes the loss on a copy of its layers and memories, with a fixed random seed."""
    torch.manual_seed(seed)
    return copy.deepcopy(loss)(**arguments(loss, given))


def student_record(loss: nn.Module, given: dict) -> torch.Tensor:
    """Returns the only record of the student that the loss takes."""
    (tensor,) = (given[name] for name in signature(loss.forward).parameters if name.endswith('_S'))
    return tensor


def with_agreeing_student(given: dict) -> dict:
    """Returns a copy in which the records of the student equal those of the teacher."""
    return {name: given[name.replace('_S', '_T')].clone() for name in given}


def arrays(given: dict, *names: str) -> list:
    """The named records as arrays, for an oracle."""
    return [given[name].numpy() for name in names]


def terms(loss, given: dict, seed: int = 5) -> dict:
    """The terms of a loss, as numbers."""
    torch.manual_seed(seed)
    return {name: value.item() for name, value in loss.terms(**arguments(loss, given)).items()}


def assert_equals(loss, taken: dict, oracle) -> None:
    """Compares value and gradient of a loss with an oracle, a function of the student's record, as an array."""
    (name,) = (name for name in taken if name.endswith('_S'))
    student = taken[name].clone().requires_grad_()
    value = loss(**{**taken, name: student})
    value.backward()
    array = student.detach().numpy()
    assert value.item() == pytest.approx(oracle(array), rel=1e-9) and value > 0
    np.testing.assert_allclose(student.grad, oracles.numerical_gradient(oracle, array), rtol=1e-5, atol=1e-8)


def scene(dtype=torch.float64, requires_grad=False):
    """Two images: logits of three classes on 4x5 cells, and labels of 8x10 pixels with boundaries and void."""
    gt = torch.zeros(2, 8, 10, dtype=torch.long)
    gt[0, :, 5:] = 1
    gt[0, 6:, :3] = 2
    gt[1, 4:] = 2
    gt[1, :, 7] = 1
    gt[:, :2, :2] = oracles.VOID
    preds_S, preds_T = torch.randn(2, 2, 3, 4, 5).to(dtype)
    return preds_S.requires_grad_(requires_grad), preds_T, gt


def blocks(num_classes: int, size: tuple, stride: int, dtype: torch.dtype, kind: str = 'regions') -> tuple:
    """Logits and labels of two images. The labels consist of blocks; the second image has fewer classes."""
    generator = torch.Generator().manual_seed(num_classes)
    preds_S, preds_T = 3 * torch.randn(2, 2, num_classes, *size, generator=generator, dtype=dtype)
    extent = [stride * x for x in size]
    cells = torch.randint(0, num_classes, (2, -(-extent[0] // 6), -(-extent[1] // 6)), generator=generator)
    cells[1] = cells[1].clamp(max=max(1, num_classes // 2))
    gt = cells.repeat_interleave(6, 1).repeat_interleave(6, 2)[:, : extent[0], : extent[1]].clone()
    gt[:, :3, :5] = oracles.VOID if num_classes <= oracles.VOID else -1
    if kind == 'no edges':
        gt.fill_(1)
    if kind == 'all void':
        gt.fill_(oracles.VOID if num_classes <= oracles.VOID else -1)
    return preds_S.requires_grad_(), preds_T, gt


def value_and_gradient(loss: torch.Tensor, preds_S: torch.Tensor) -> tuple:
    return loss.detach(), torch.autograd.grad(loss, preds_S)[0]
