"""Attention transfer (Zagoruyko and Komodakis, ICLR 2017, arXiv 1612.03928)."""

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

from .base import DistillLoss
from .functional import upcast


def attention(feats: Tensor) -> Tensor:
    """normalize(vec(mean over channels of F^2)), (N, h * w), of features F, (N, D, h, w)."""
    return F.normalize(upcast(feats).square().mean(1).flatten(1))


@MODELS.register_module()
class ATLoss(DistillLoss):
    """weight * mean (a_S - a_T)^2, with the `attention` a of the head's features.

    The features may have different widths. Void pixels are included.
    """

    any_width = True

    def __init__(self, weight: float = 10000.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, feats_S: Tensor, feats_T: Tensor) -> Tensor:
        return self.weight * F.mse_loss(attention(feats_S), attention(feats_T.detach()))
