"""Attention transfer (Zagoruyko and Komodakis, ICLR 2017, arXiv 1612.03928)."""

from mmengine.registry import MODELS
from mmrazor.models.losses import ATLoss as MMRazorATLoss
from torch import Tensor

from .base import DistillLoss
from .functional import upcast


@MODELS.register_module()
class ATLoss(MMRazorATLoss, DistillLoss):
    """weight * mean (a_S - a_T)^2, with a = normalize(vec(mean over channels of F^2)) of the head's features F.

    Computed by MMRazor's `ATLoss`. The features may have different widths. Void pixels are included.
    """

    any_width = True

    def __init__(self, weight: float = 10000.0) -> None:
        super().__init__(loss_weight=weight)

    def forward(self, feats_S: Tensor, feats_T: Tensor) -> Tensor:
        return super().forward(upcast(feats_S), upcast(feats_T.detach()))
