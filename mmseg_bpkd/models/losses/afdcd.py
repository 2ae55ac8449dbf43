"""Augmentation-free dense contrastive distillation (Af-DCD, Fan et al., NeurIPS 2023)."""

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

from .base import DistillLoss
from .functional import in_full_precision, sum_of_terms
from .mgd import build_generator, squared_distance


@in_full_precision
def dense_contrast(feats_S: Tensor, feats_T: Tensor, groups: int, patch: int, tau: float) -> Tensor:
    """InfoNCE between channel groups inside patches, summed over the groups and averaged over the positions.

    A vector is one group of channels at one position. Similarity is the negative L1 distance.

    * Positive: the teacher's vector of the same position and group.
    * Negatives: the teacher's vectors of other groups, at any position of the patch.
    * Left out: the teacher's vectors of the same group at other positions.

    Rows and columns that do not fill a patch are left out. A map smaller than a patch is one patch.

    Args:
        feats_S, feats_T: (N, D, h, w), where groups divides D.
        patch: side of a patch in cells.
        tau: temperature of the similarities.

    Returns:
        A scalar.
    """
    h, w = (min(patch, extent) for extent in feats_T.shape[2:])
    vectors_S, vectors_T = (_vectors_of_patches(feats, groups, h, w) for feats in (feats_S, feats_T))
    similarity = -torch.cdist(vectors_S, vectors_T, p=1) / tau  # (patches, h * w * groups, h * w * groups)
    group = torch.arange(groups, device=feats_S.device).repeat(h * w)
    allowed = (group[:, None] != group) | torch.eye(len(group), dtype=torch.bool, device=group.device)
    similarity = similarity.masked_fill(~allowed, float('-inf'))
    positive = similarity.diagonal(dim1=1, dim2=2)
    return groups * (similarity.logsumexp(2) - positive).mean()


def _vectors_of_patches(feats: Tensor, groups: int, h: int, w: int) -> Tensor:
    """(N, D, H, W) to (patches, positions * groups, D / groups)."""
    feats = feats[..., : feats.shape[2] // h * h, : feats.shape[3] // w * w]
    patches = F.unfold(feats, (h, w), stride=(h, w))  # (N, D * h * w, patches of an image)
    n, _, count = patches.shape
    patches = patches.view(n, groups, feats.shape[1] // groups, h * w, count)
    return patches.permute(0, 4, 3, 1, 2).flatten(2, 3).flatten(0, 1)


@MODELS.register_module()
class AfDCDLoss(DistillLoss):
    """Two terms: MGD's loss on the last stages, and `dense_contrast` between the max-pooled generated and teacher maps.

    The default weights are the authors' for Cityscapes. For ADE20K they use 1e-6 and 0.04, for CamVid 8e-6 and 0.01.
    The mask is random and the generator is MGD's, as in the authors' code with its default options. Void pixels are
    included.

    Args:
        feature_weight, contrast_weight: weights of the two terms.
        mask_ratio: share of the positions that are masked for the generator.
        groups, patch, tau: see `dense_contrast`.
        pool: side of the max-pooling window before the contrast, in cells.
        max_grad_norm: `ClipLossGradHook` clips the gradient of the trained layers to this norm. None: no clipping.

    Raises:
        ValueError: if the channels of the teacher's last stage cannot be divided into the groups.
    """

    any_width = True

    def __init__(
        self,
        feature_weight: float = 2e-6,
        contrast_weight: float = 0.005,
        mask_ratio: float = 0.75,
        groups: int = 16,
        patch: int = 4,
        pool: int = 4,
        tau: float = 0.07,
        max_grad_norm: float | None = 15.0,
    ) -> None:
        super().__init__()
        self.feature_weight = feature_weight
        self.contrast_weight = contrast_weight
        self.mask_ratio = mask_ratio
        self.groups = groups
        self.patch = patch
        self.pool = pool
        self.tau = tau
        self.max_grad_norm = max_grad_norm

    def build_layers(self, stage_S: int, stage_T: int) -> None:
        if stage_T % self.groups:
            raise ValueError(
                f"the teacher's last stage has {stage_T} channels, which {self.groups} groups do not divide"
            )
        self.generator = build_generator(stage_S, stage_T, self.mask_ratio)

    def forward(self, stage_S: Tensor, stage_T: Tensor) -> Tensor:
        """The sum of `terms`, a scalar."""
        return sum_of_terms(self.terms(stage_S, stage_T), stage_S)

    def terms(self, stage_S: Tensor, stage_T: Tensor) -> dict[str, Tensor]:
        """The weighted terms 'feature' and 'contrast', scalars.

        Args:
            stage_S, stage_T: last stages of the backbones, (N, D, h, w).
        """
        generated, stage_T = self.generator(stage_S), stage_T.detach()
        pooled = [F.max_pool2d(x, [min(self.pool, extent) for extent in x.shape[2:]]) for x in (generated, stage_T)]
        contrast = dense_contrast(*pooled, self.groups, self.patch, self.tau)
        return dict(
            feature=self.feature_weight * squared_distance(generated, stage_T), contrast=self.contrast_weight * contrast
        )
