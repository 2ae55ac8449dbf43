"""Adaptive perspective distillation (APD, Tian et al., TPAMI 2022)."""

from typing import Dict

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from .base import DistillLoss
from .distributed import sum_over_ranks
from .functional import class_maps, in_full_precision, masked_mean

NOWHERE = -1e4  # the similarity to a class that the batch does not have: no share in any softmax


def adaptor(width: int, width_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, width_out, 1), nn.ReLU(inplace=True), nn.Conv2d(width_out, width_out, 1))


@in_full_precision
def perspective(feats: Tensor, maps: Tensor, scale: float = 10.0) -> tuple:
    """Class centres of a batch, over all ranks, and every position's scaled cosine with each.

    Args:
        feats: (N, D, h, w).
        maps: (N, C, h * w), from `class_maps`.

    Returns:
        Centres of length 1 (C, D), 0 for an absent class; similarities (N, C, h * w).
    """
    feats = F.normalize(feats.flatten(2), dim=1)
    sums = sum_over_ranks((maps.to(feats) @ feats.transpose(1, 2)).sum(0))
    centres = F.normalize(sums, dim=1)  # of the mean, which has the direction of the sum
    return centres, scale * (centres @ feats)


@MODELS.register_module()
class AdaptivePerspectiveLoss(DistillLoss):
    """Class centres, and the maps of similarities to them, on features that each side sees through an adaptor.

    map_weight * KL of the similarity maps, mean over positions and present classes; centre_weight * mean over present
    classes of (1 - cos) / 2; and cross-entropy of the teacher's map, which trains the teacher's adaptor alone. Absent
    classes are left out. Void is in no centre and not in the cross-entropy; the KL takes every position.

    On the head's features. Adaptors (1x1, ReLU, 1x1) are as wide as the teacher's.

    Args:
        student_lr_mult: of the student's adaptor, times the rate of the student.
        teacher_lr: of the teacher's adaptor. The authors' 1e-5 is Adam's.
    """

    any_width = True

    def __init__(
        self,
        map_weight: float = 10.0,
        centre_weight: float = 10.0,
        student_lr_mult: float = 10.0,
        teacher_lr: float = 1e-5,
        ignore_index: int = 255,
    ) -> None:
        super().__init__()
        self.map_weight = map_weight
        self.centre_weight = centre_weight
        self.optim_options = dict(adaptor_S=dict(lr_mult=student_lr_mult), adaptor_T=dict(lr=teacher_lr))
        self.ignore_index = ignore_index

    def build_layers(self, feats_S: int, feats_T: int, num_classes: int) -> None:
        self.adaptor_S = adaptor(feats_S, feats_T)
        self.adaptor_T = adaptor(feats_T, feats_T)
        self.num_classes = num_classes

    def forward(self, feats_S: Tensor, feats_T: Tensor, gt: Tensor) -> Tensor:
        """The sum of `terms`, a scalar."""
        return sum(self.terms(feats_S, feats_T, gt).values())

    def terms(self, feats_S: Tensor, feats_T: Tensor, gt: Tensor) -> Dict[str, Tensor]:
        """'map', 'centre' and 'teacher', of features (N, D, h, w) and labels (N, H, W)."""
        maps = class_maps(gt, self.num_classes, feats_S.shape[2:], self.ignore_index)
        present = sum_over_ranks(maps.sum((0, 2))) > 0
        centres_S, view_S = perspective(self.adaptor_S(feats_S), maps)
        centres_T, view_T = perspective(self.adaptor_T(feats_T.detach()), maps)
        log_S, log_T = (view.masked_fill(~present[:, None], NOWHERE).log_softmax(1) for view in (view_S, view_T))
        divergence = F.kl_div(log_S, log_T.detach(), reduction='none', log_target=True).sum(1).mean()
        apart = (1 - (centres_S * centres_T.detach()).sum(1)) / 2
        entropy = -(log_T * maps).sum(1)
        num_present = present.sum().clamp(min=1)
        return dict(
            map=self.map_weight * divergence / num_present,
            centre=self.centre_weight * apart.masked_fill(~present, 0).sum() / num_present,
            teacher=masked_mean(entropy, maps.any(1)),
        )
