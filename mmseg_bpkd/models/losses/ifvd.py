"""Intra-class feature variation distillation (IFVD, Wang et al., ECCV 2020)."""

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

from .base import DistillLoss
from .functional import class_maps, in_full_precision, masked_mean


@in_full_precision
def intra_class_variation(feats: Tensor, maps: Tensor) -> Tensor:
    """Cosine similarity between the feature of each position and the mean feature of its class in the image.

    Args:
        feats: (N, D, h, w).
        maps: (N, C, h * w), from `class_maps`.

    Returns:
        (N, h * w). The values at void positions are undefined; mask them.
    """
    feats, maps = feats.flatten(2), maps.to(feats)
    means = feats @ maps.transpose(1, 2) / maps.sum(2).clamp(min=1)[:, None]  # (N, D, C)
    return F.cosine_similarity(feats, means @ maps, dim=1)


@MODELS.register_module()
class IFVDLoss(DistillLoss):
    """weight * mean over non-void positions of (M_S - M_T)^2, where M is the `intra_class_variation`.

    Uses the head's features, which may have different widths; the label is resized to them. The authors' code has
    weight 200 and counts void positions in the mean as zeros.
    """

    any_width = True

    def __init__(self, weight: float = 20.0, ignore_index: int = 255) -> None:
        super().__init__()
        self.weight = weight
        self.ignore_index = ignore_index

    def build_layers(self, num_classes: int) -> None:
        self.num_classes = num_classes

    def forward(self, feats_S: Tensor, feats_T: Tensor, gt: Tensor) -> Tensor:
        maps = class_maps(gt, self.num_classes, feats_S.shape[2:], self.ignore_index)
        variation_S, variation_T = (intra_class_variation(feats, maps) for feats in (feats_S, feats_T.detach()))
        return self.weight * masked_mean((variation_S - variation_T) ** 2, maps.any(1))
