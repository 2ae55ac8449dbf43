"""The channel loss of knowledge tailoring (KT, Cheung et al., 2025), without the tailoring."""

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

from .base import DistillLoss
from .functional import channel_kl, upcast

DIVERGENCES = ('kl', 'l1', 'huber')
EPS = 1e-3  # lower bound of a length in a denominator; with 1e-6, gradients at zero features overflow half precision


def unit_l1(feats_S: Tensor, feats_T: Tensor) -> Tensor:
    """L1 distance of the channels, each scaled to length 1 over its positions.

    Args:
        feats_S, feats_T: (N, D, H, W).

    Returns:
        (N, D).

    >>> import torch
    >>> unit_l1(torch.tensor([[[[3.0, 4.0]]]]), torch.tensor([[[[0.0, 2.0]]]]))  # |0.6 - 0| + |0.8 - 1|
    tensor([[0.8000]])
    """
    unit_S, unit_T = (F.normalize(upcast(feats).flatten(2), dim=2, eps=EPS) for feats in (feats_S, feats_T.detach()))
    return (unit_S - unit_T).abs().sum(2)


def unit_huber(feats_S: Tensor, feats_T: Tensor, delta: float = 1.0) -> Tensor:
    """Huber distance of the channels, after each position was scaled to length 1 over the channels.

    Args:
        feats_S, feats_T: (N, D, H, W).

    Returns:
        (N, D).

    >>> import torch
    >>> unit_huber(torch.tensor([[[[3.0]], [[4.0]]]]), torch.tensor([[[[0.0]], [[2.0]]]]))  # 0.6^2 / 2, 0.2^2 / 2
    tensor([[0.1800, 0.0200]])
    """
    unit_S, unit_T = (F.normalize(upcast(feats).flatten(2), dim=1, eps=EPS) for feats in (feats_S, feats_T.detach()))
    return F.huber_loss(unit_S, unit_T, reduction='none', delta=delta).sum(2)


@MODELS.register_module()
class KTLoss(DistillLoss):
    """weight * mean over images and channels of a distance between the head's features, channel by channel.

    This is `CriterionKT` with norm_type='channel' in `losses/KT.py` of seok-hwa/KT (commit 709743f). A trained 1x1
    convolution aligns the student's features. Void pixels are included. The tailoring, which changes teacher and
    student before this loss, is not part of this project.

    =========  ======================================================================================================
    'kl'       tau^2 * KL(teacher || student) over the positions, as in CWD. KT's training uses it, with tau=4.
    'l1'       `unit_l1`
    'huber'    `unit_huber`
    =========  ======================================================================================================

    KT's own Huber distance decides between square and absolute value for the whole batch, and its square is delta * d^2
    instead of d^2 / 2. The values of 'l1' and 'huber' grow with the number of positions.

    Args:
        divergence: 'kl', 'l1' or 'huber'.
        tau: temperature of 'kl'; no effect otherwise.
        delta: where 'huber' changes from square to absolute value; no effect otherwise.

    Raises:
        ValueError: if `divergence` is none of these.
    """

    align = True

    def __init__(self, weight: float = 1.0, divergence: str = 'kl', tau: float = 4.0, delta: float = 1.0) -> None:
        super().__init__()
        if divergence not in DIVERGENCES:
            raise ValueError(f'divergence must be one of {DIVERGENCES}, got {divergence!r}')
        self.weight = weight
        self.divergence = divergence
        self.tau = tau
        self.delta = delta

    def forward(self, feats_S: Tensor, feats_T: Tensor) -> Tensor:
        if self.divergence == 'kl':
            distance = channel_kl(feats_S, feats_T, self.tau)
        elif self.divergence == 'l1':
            distance = unit_l1(feats_S, feats_T)
        else:
            distance = unit_huber(feats_S, feats_T, self.delta)
        return self.weight * distance.mean()
