"""Adaptive perspective distillation (APD, Tian et al., TPAMI 2022)."""

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from .base import DistillLoss
from .distributed import sum_over_ranks
from .functional import class_maps, in_full_precision, masked_mean, sum_of_terms

ABSENT = -1e4  # similarity to a class that is not in the batch: its softmax is 0


def adaptor(width: int, width_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, width_out, 1), nn.ReLU(inplace=True), nn.Conv2d(width_out, width_out, 1))


@in_full_precision
def perspective(feats: Tensor, maps: Tensor, scale: float = 10.0) -> tuple:
    """Class centers of the batch (of all processes), and their scaled cosine similarity to every position.

    Args:
        feats: (N, D, h, w).
        maps: (N, C, h * w), from `class_maps`.

    Returns:
        centers: unit vectors, (C, D); zero for an absent class.
        similarities: (N, C, h * w).
    """
    feats = F.normalize(feats.flatten(2), dim=1)
    sums = sum_over_ranks((maps.to(feats) @ feats.transpose(1, 2)).sum(0))
    centers = F.normalize(sums, dim=1)  # the sum has the direction of the mean
    return centers, scale * (centers @ feats)


@MODELS.register_module()
class APDLoss(DistillLoss):
    """Distils class centers and the similarity of each position to them, on the head's features.

    The student's and the teacher's features first pass a trained adaptor each: 1x1 convolution, ReLU, 1x1 convolution,
    with as many channels as the teacher's features. The terms:

    * 'map': map_weight * KL divergence of the similarity maps, mean over positions and present classes.
    * 'center': center_weight * mean over present classes of (1 - cosine) / 2 between the centers.
    * 'teacher': cross-entropy of the teacher's map. It trains only the teacher's adaptor.

    Classes that are not in the batch are left out. Centers and cross-entropy exclude void pixels. The KL divergence
    includes them.

    Args:
        student_lr_mult: learning rate of the student's adaptor, as a multiple of the student's.
        teacher_lr: learning rate of the teacher's adaptor.
        teacher_optimizer: config of the optimizer of the teacher's adaptor, without lr. None: the student's optimizer.
    """

    any_width = True

    def __init__(
        self,
        map_weight: float = 10.0,
        center_weight: float = 10.0,
        student_lr_mult: float = 10.0,
        teacher_lr: float = 1e-5,
        ignore_index: int = 255,
        teacher_optimizer: dict | None = dict(type='Adam', betas=(0.9, 0.99)),
    ) -> None:
        super().__init__()
        self.map_weight = map_weight
        self.center_weight = center_weight
        self.optim_options = dict(
            adaptor_S=dict(lr_mult=student_lr_mult), adaptor_T=dict(lr=teacher_lr, optimizer=teacher_optimizer)
        )
        self.ignore_index = ignore_index

    def build_layers(self, feats_S: int, feats_T: int, num_classes: int) -> None:
        self.adaptor_S = adaptor(feats_S, feats_T)
        self.adaptor_T = adaptor(feats_T, feats_T)
        self.num_classes = num_classes

    def forward(self, feats_S: Tensor, feats_T: Tensor, gt: Tensor) -> Tensor:
        """The sum of `terms`, a scalar."""
        return sum_of_terms(self.terms(feats_S, feats_T, gt), feats_S)

    def terms(self, feats_S: Tensor, feats_T: Tensor, gt: Tensor) -> dict[str, Tensor]:
        """The weighted terms 'map', 'center' and 'teacher', scalars.

        Args:
            feats_S, feats_T: (N, D, h, w).
            gt: label, (N, H, W).
        """
        maps = class_maps(gt, self.num_classes, feats_S.shape[2:], self.ignore_index)
        present = sum_over_ranks(maps.sum((0, 2))) > 0
        centers_S, view_S = perspective(self.adaptor_S(feats_S), maps)
        centers_T, view_T = perspective(self.adaptor_T(feats_T.detach()), maps)
        log_S, log_T = (view.masked_fill(~present[:, None], ABSENT).log_softmax(1) for view in (view_S, view_T))
        divergence = F.kl_div(log_S, log_T.detach(), reduction='none', log_target=True).sum(1).mean()
        apart = (1 - (centers_S * centers_T.detach()).sum(1)) / 2
        entropy = -(log_T * maps).sum(1)
        num_present = present.sum().clamp(min=1)
        return dict(
            map=self.map_weight * divergence / num_present,
            center=self.center_weight * apart.masked_fill(~present, 0).sum() / num_present,
            teacher=masked_mean(entropy, maps.any(1)),
        )
