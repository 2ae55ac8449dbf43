"""Intra-class feature variation distillation (IFVD, Wang et al., ECCV 2020)."""

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

from .base import DistillLoss
from .functional import class_maps, in_full_precision, masked_mean


@in_full_precision
def intra_class_variation(feats: Tensor, maps: Tensor) -> Tensor:
    """Cosine of each position's feature with the mean feature of its class in its image.

    Args:
        feats: (N, D, h, w).
        maps: (N, C, h * w), from `class_maps`.

    Returns:
        (N, h * w); what void positions have means nothing.
    """
    feats, maps = feats.flatten(2), maps.to(feats)
    means = feats @ maps.transpose(1, 2) / maps.sum(2).clamp(min=1)[:, None]  # (N, D, C)
    return F.cosine_similarity(feats, means @ maps, dim=1)


@MODELS.register_module()
class IntraClassLoss(DistillLoss):
    """weight * mean over non-void positions of (M_S - M_T)^2, where M is the `intra_class_variation`.

    On the head's features, of any two widths, with the label at their size. The authors' code has weight 200 and also
    divides by the void positions, which add nothing to the sum.
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
