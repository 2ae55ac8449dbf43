"""Every loss of the package, and small records that a reader can check by eye to call it with."""

import copy
from inspect import signature
from typing import Callable, Dict

import oracles
import torch
from torch import nn

from mmseg_bpkd import losses

CLASSES, FEATS_S, FEATS_T, STAGE_S, STAGE_T = 3, 4, 6, 4, 8
WIDTHS = dict(num_classes=CLASSES, feats_S=FEATS_S, feats_T=FEATS_T, stage_S=STAGE_S, stage_T=STAGE_T)


def made(name: str, **settings) -> nn.Module:
    """A loss with the layers that it needs for `records`."""
    loss = getattr(losses, name)(**settings)
    loss.build_layers(**{key: WIDTHS[key] for key in signature(loss.build_layers).parameters})
    return loss


LOSSES: Dict[str, Callable[[], nn.Module]] = {
    'bpkd': lambda: made('BPKDLoss'),
    'bpkd as in the paper': lambda: made('BPKDLoss', edge_weight=50, body_weight=20, class_weight=2, edge_norm='paper'),
    'bpkd without PRM': lambda: made('BPKDLoss', pre_mask=False),
    'bpkd without POM': lambda: made('BPKDLoss', post_mask=False),
    'bpkd, the other softmaxes': lambda: made('BPKDLoss', edge_over='positions', body_over='classes'),
    'kd': lambda: made('PixelWiseLoss'),
    'kd over elements': lambda: made('PixelWiseLoss', norm='elements'),
    'kd as in SKDS': lambda: made('PixelWiseLoss', weight=10, norm='positions', cross_entropy=True),
    'fitnet': lambda: made('FitNetLoss'),
    'at': lambda: made('AttentionTransferLoss'),
    'local affinity': lambda: made('LocalAffinityLoss'),
    'skds pairs': lambda: made('PairWiseLoss'),
    'skds pairs of a grid': lambda: made('PairWiseLoss', kernel=0.5, weight=0.5),
    'critic': lambda: made('AdversarialLoss'),
    'ifvd': lambda: made('IntraClassLoss'),
    'cwd': lambda: made('ChannelWiseLoss'),
    'cwd on features': lambda: made('ChannelWiseFeatureLoss'),
    'cirkd': lambda: made('CrossImageLoss', pixel_memory=40, region_memory=5, pixels_per_class=20),
    'apd': lambda: made('AdaptivePerspectiveLoss'),
    'dist': lambda: made('PearsonLoss'),
    'mgd': lambda: made('MaskedGenerativeLoss'),
    'afdcd': lambda: made('DenseContrastiveLoss', groups=2),
}
DIVERGENCES = [name for name in LOSSES if name not in ('kd as in SKDS', 'critic', 'cirkd', 'apd', 'mgd', 'afdcd')]
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
    """Two images: logits, features and stages of 4x5 cells, labels of 8x10 pixels with borders and void."""

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
    """Of the records, those that the loss takes; one that a `SegDistiller` would align gets aligned features."""
    taken = {name: given[name] for name in signature(loss.forward).parameters}
    if loss.align:
        taken['feats_S'] = taken['feats_S'].repeat(1, 2, 1, 1)[:, :FEATS_T]
    return taken


def value(loss: nn.Module, given: dict, seed: int = 5) -> torch.Tensor:
    """The loss, of a copy of its parts and memories, under the same random numbers each time."""
    torch.manual_seed(seed)
    return copy.deepcopy(loss)(**arguments(loss, given))


def students_tensor(loss: nn.Module, given: dict) -> torch.Tensor:
    """Of what the loss takes, the student's."""
    (tensor,) = (given[name] for name in signature(loss.forward).parameters if name.endswith('_S'))
    return tensor


def like_the_teacher(given: dict) -> dict:
    """The same records with a student that agrees with the teacher."""
    return {name: given[name.replace('_S', '_T')].clone() for name in given}
