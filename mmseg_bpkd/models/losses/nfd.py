"""Normalized feature distillation (NFD, Liu et al., 2022, arXiv 2207.05256)."""

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

from .base import DistillLoss
from .functional import upcast

EPS = 1e-5  # added to the variance, as in torch's InstanceNorm2d


def normalize_channels(feats: Tensor) -> Tensor:
    """(F - mean) / sqrt(var + 1e-5) over the positions of each channel of each image. A constant channel becomes 0.

    Args:
        feats: (N, D, H, W).

    >>> import torch
    >>> normalize_channels(torch.tensor([[[[1.0, 3.0]], [[5.0, 5.0]]]]))
    tensor([[[[-1.0000,  1.0000]],
    <BLANKLINE>
             [[ 0.0000,  0.0000]]]])
    """
    feats = upcast(feats)
    centered = feats - feats.mean((2, 3), keepdim=True)
    return centered / (centered.square().mean((2, 3), keepdim=True) + EPS).sqrt()


@MODELS.register_module()
class NFDLoss(DistillLoss):
    """weight * mean (n(conv(F_S)) - n(F_T))^2 of the head's features F, where n is `normalize_channels`.

    The student learns the pattern of each channel and not its magnitude. A trained 1x1 convolution aligns the student's
    features. Void pixels are included.

    The authors published no code. That n normalizes over height and width follows the description of NFD in the README
    of FastSegFormer (caixiongjiang/FastSegFormer, commit 8f673e0), which divides the length of the difference by H * W;
    here, it is the mean of the squares. `utils/distillation_loss.py` there defines n but does not call it. The paper's
    weight is unknown to us: 1 is a placeholder. The loss is 2 if the two features are uncorrelated.
    """

    align = True

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, feats_S: Tensor, feats_T: Tensor) -> Tensor:
        return self.weight * F.mse_loss(normalize_channels(feats_S), normalize_channels(feats_T.detach()))
