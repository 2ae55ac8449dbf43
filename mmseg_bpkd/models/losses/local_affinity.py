"""Local affinity (Xie et al., BMVC 2018, arXiv 1810.08476)."""

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

from .base import DistillLoss
from .functional import check_same_shape, in_full_precision

HALF_OF_THE_NEIGHBORS = ((0, 1), (1, -1), (1, 0), (1, 1))


@in_full_precision
def inconsistency(preds: Tensor) -> Tensor:
    """Mean Euclidean distance between the class probabilities of a pixel and those of its neighbors (at most eight).

    Args:
        preds: logits, (N, C, H, W).

    Returns:
        (N, H, W).
    """
    probs = preds.softmax(1)
    n, _, h, w = probs.shape
    total, count = probs.new_zeros(n, h, w), probs.new_zeros(h, w)
    for down, right in HALF_OF_THE_NEIGHBORS:  # each pair of neighbors is computed once
        left = max(0, -right)
        here = (..., slice(0, h - down), slice(left, w - max(0, right)))
        there = (..., slice(down, h), slice(max(0, right), w - left))
        distance = torch.linalg.vector_norm(probs[here] - probs[there], dim=1)
        for end in (here, there):
            total[end] += distance
            count[end] += 1
    return total / count.clamp(min=1)


@MODELS.register_module()
class LocalAffinityLoss(DistillLoss):
    """weight * mean (C_S - C_T)^2, where C is the `inconsistency` of the logits. Void pixels are included."""

    def __init__(self, weight: float = 10.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, preds_S: Tensor, preds_T: Tensor) -> Tensor:
        check_same_shape(preds_S, preds_T)
        return self.weight * F.mse_loss(inconsistency(preds_S), inconsistency(preds_T.detach()))
