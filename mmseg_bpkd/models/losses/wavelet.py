"""Distillation in the frequency domain: the wavelet loss of FreeKD (Zhang et al., CVPR 2024, arXiv 2311.12079)."""

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

from .base import DistillLoss
from .functional import sum_of_terms, upcast


def haar_details(x: Tensor, levels: int) -> list[Tensor]:
    """The high frequencies of the Haar wavelet transform: three per level, horizontal, vertical and diagonal.

    Each level halves the map. With the 2x2 cell [[a, b], [c, d]], the details are (a + b - c - d) / 2,
    (a - b + c - d) / 2 and (a - b - c + d) / 2, and the next level transforms (a + b + c + d) / 2. A map of odd size
    gets a row or column of zeros. A map of one position ends the transform.

    Args:
        x: (N, D, H, W).

    Returns:
        At most `levels` tensors: (N, D, 3, ceil(H / 2), ceil(W / 2)), (N, D, 3, ceil(H / 4), ceil(W / 4)), ...

    >>> haar_details(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), levels=3)[0].flatten()
    tensor([-2., -1.,  0.])
    """
    details: list[Tensor] = []
    while len(details) < levels and x.shape[2:].numel() > 1:
        x = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))
        top, bottom = x[:, :, ::2], x[:, :, 1::2]
        a, b, c, d = top[..., ::2], top[..., 1::2], bottom[..., ::2], bottom[..., 1::2]
        details.append(torch.stack((a + b - c - d, a - b + c - d, a - b - c + d), 2) / 2)
        x = (a + b + c + d) / 2
    return details


@MODELS.register_module()
class WaveletLoss(DistillLoss):
    """Compares the head's features F in space, and their high frequencies, where boundaries are.

    * 'detail': `detail_weight * sum over the levels of mean |details of conv(F_S) - details of F_T|`, see
      `haar_details`;
    * 'feature': `feature_weight * mean (conv(F_S) - F_T)^2`, as in FitNet.

    A trained 1x1 convolution aligns the student's features. Void pixels are included.

    This is FreeKD's loss without its frequency prompts, with which the teacher would have to be trained again: the mask
    that they give is 1 here. Formula and defaults are those of `mmrazor/models/losses/freekd.py` and
    `configs/distill/freekd/freekd_retinanet_r101-retinanet_r50_coco.py` of Gumpest/FreeKD (commit e0874f5, Apache-2.0):
    three levels, weight 1, and weight 5 for the squared distance. FreeKD published no config for segmentation.

    Args:
        levels: number of times that the map is halved.

    Raises:
        ValueError: if there are no levels.
    """

    align = True

    def __init__(self, detail_weight: float = 1.0, feature_weight: float = 5.0, levels: int = 3) -> None:
        super().__init__()
        if levels < 1:
            raise ValueError(f'levels must be at least 1, got {levels}')
        self.detail_weight = detail_weight
        self.feature_weight = feature_weight
        self.levels = levels

    def forward(self, feats_S: Tensor, feats_T: Tensor) -> Tensor:
        """The sum of `terms`, a scalar."""
        return sum_of_terms(self.terms(feats_S, feats_T), feats_S)

    def terms(self, feats_S: Tensor, feats_T: Tensor) -> dict[str, Tensor]:
        """'detail' and 'feature', of features (N, D, H, W)."""
        difference = upcast(feats_S) - upcast(feats_T.detach())
        # the transform is linear, so the details of the difference are the difference of the details
        distances = [detail.abs().mean() for detail in haar_details(difference, self.levels)]
        return dict(
            detail=self.detail_weight * sum(distances, start=difference.new_zeros(())),
            feature=self.feature_weight * difference.square().mean(),
        )
