"""DIST: knowledge distillation from a stronger teacher (Huang et al., NeurIPS 2022, arXiv 2205.10536)."""

from typing import Dict

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

from .base import DistillLoss
from .distributed import sum_over_ranks, world_size
from .functional import check_same_shape, in_full_precision

EPS = 1e-8  # lower bound of a norm in a denominator, as in torch's cosine_similarity


@in_full_precision
def row_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson correlation of each row of two (M, C) matrices: (M,)."""
    a, b = (x - x.mean(1, keepdim=True) for x in (a, b))
    return F.cosine_similarity(a, b, dim=1, eps=EPS)


@in_full_precision
def column_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson correlation of each column of two (M, C) matrices, over the rows of all processes: (C,)."""
    rows = len(a) * world_size()
    a, b = (x - sum_over_ranks(x.sum(0)) / rows for x in (a, b))
    product, square_a, square_b = sum_over_ranks(torch.stack([(a * b).sum(0), (a * a).sum(0), (b * b).sum(0)]))
    return product / (square_a.clamp(min=EPS**2).sqrt() * square_b.clamp(min=EPS**2).sqrt())


@MODELS.register_module()
class PearsonLoss(DistillLoss):
    """One minus the Pearson correlation between the class probabilities of student and teacher.

    * 'inter': correlation over the classes of a pixel, mean over pixels;
    * 'intra': correlation over all pixels of the batch, mean over classes.

    Both are multiplied by tau^2. Void pixels are included.
    """

    def __init__(self, inter_weight: float = 1.0, intra_weight: float = 1.0, tau: float = 1.0) -> None:
        super().__init__()
        self.inter_weight = inter_weight
        self.intra_weight = intra_weight
        self.tau = tau

    def forward(self, preds_S: Tensor, preds_T: Tensor) -> Tensor:
        """The sum of `terms`, a scalar."""
        return sum(self.terms(preds_S, preds_T).values())

    def terms(self, preds_S: Tensor, preds_T: Tensor) -> Dict[str, Tensor]:
        """The weighted terms 'inter' and 'intra', scalars, of logits (N, C, h, w)."""
        check_same_shape(preds_S, preds_T)
        rows_S, rows_T = probability_rows(preds_S, self.tau), probability_rows(preds_T.detach(), self.tau)
        return dict(
            inter=self.inter_weight * self.tau**2 * (1 - row_correlation(rows_S, rows_T).mean()),
            intra=self.intra_weight * self.tau**2 * (1 - column_correlation(rows_S, rows_T).mean()),
        )


@in_full_precision
def probability_rows(preds: Tensor, tau: float) -> Tensor:
    """Class probabilities, one row per pixel: (N, C, H, W) to (N * H * W, C)."""
    return (preds / tau).softmax(1).movedim(1, 3).flatten(0, 2)
