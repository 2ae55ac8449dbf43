"""Masked generative distillation (MGD, Yang et al., ECCV 2022, arXiv 2205.01529)."""

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from .base import DistillLoss
from .functional import upcast


def squared_distance(feats_S: Tensor, feats_T: Tensor) -> Tensor:
    """(F_S - F_T)^2, summed over each image, averaged over the images."""
    return F.mse_loss(upcast(feats_S), upcast(feats_T.detach()), reduction='sum') / len(feats_T)


def build_generator(stage_S: int, stage_T: int, mask_ratio: float) -> nn.Module:
    """Returns MMRazor's `MGDConnector`, from the student's channels to the teacher's."""
    from mmrazor.models.architectures.connectors import MGDConnector  # takes seconds

    return MGDConnector(stage_S, stage_T, lambda_mgd=mask_ratio)


@MODELS.register_module()
class MGDLoss(DistillLoss):
    """weight * `squared_distance` between the teacher's last stage and its reconstruction from the student's.

    The trained generator is MMRazor's `MGDConnector`: 1x1 convolution to the teacher's width, random mask of positions,
    3x3 convolution, ReLU, 3x3 convolution. Void pixels are included.

    Args:
        mask_ratio: share of the positions that are masked.
    """

    any_width = True

    def __init__(self, weight: float = 2e-5, mask_ratio: float = 0.75) -> None:
        super().__init__()
        self.weight = weight
        self.mask_ratio = mask_ratio

    def build_layers(self, stage_S: int, stage_T: int) -> None:
        self.generator = build_generator(stage_S, stage_T, self.mask_ratio)

    def forward(self, stage_S: Tensor, stage_T: Tensor) -> Tensor:
        return self.weight * squared_distance(self.generator(stage_S), stage_T)
