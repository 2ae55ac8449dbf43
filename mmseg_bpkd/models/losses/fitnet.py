"""FitNets (Romero et al., ICLR 2015, arXiv 1412.6550)."""

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

from .base import DistillLoss
from .functional import upcast


@MODELS.register_module()
class FitNetLoss(DistillLoss):
    """weight * mean (conv(F_S) - F_T)^2 of the head's features F. The 1x1 convolution is trained.

    Void pixels are included.

    The defaults are those of CIRKD's reimplementation, which adds pixel-wise KD with weight 1.

    Args:
        bias: whether the convolution has a bias.
    """

    def __init__(self, weight: float = 10.0, bias: bool = False) -> None:
        super().__init__()
        self.weight = weight
        self.align = dict(bias=bias)

    def forward(self, feats_S: Tensor, feats_T: Tensor) -> Tensor:
        return self.weight * F.mse_loss(upcast(feats_S), upcast(feats_T.detach()))
