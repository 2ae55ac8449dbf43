"""DIST: knowledge distillation from a stronger teacher (Huang et al., NeurIPS 2022, arXiv 2205.10536)."""

import torch
from mmengine.registry import MODELS
from torch import Tensor

from .base import DistillLoss
from .distributed import sum_over_ranks, world_size
from .functional import check_same_shape, in_full_precision, sum_of_terms

EPS = 1e-8  # added to the product of two norms, as in the authors' code


def _cosine(product: Tensor, square_a: Tensor, square_b: Tensor) -> Tensor:
    """<a, b> / (|a| |b| + EPS), of <a, b>, <a, a> and <b, b>."""
    smallest = torch.finfo(product.dtype).tiny  # the square root has no gradient at 0
    return product / (square_a.clamp(min=smallest).sqrt() * square_b.clamp(min=smallest).sqrt() + EPS)


@in_full_precision
def row_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson correlation of each row of two (M, C) matrices: (M,)."""
    a, b = (x - x.mean(1, keepdim=True) for x in (a, b))
    return _cosine((a * b).sum(1), (a * a).sum(1), (b * b).sum(1))


@in_full_precision
def column_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson correlation of each column of two (M, C) matrices, over the rows of all processes: (C,)."""
    rows = len(a) * world_size()
    a, b = (x - sum_over_ranks(x.sum(0)) / rows for x in (a, b))
    return _cosine(*sum_over_ranks(torch.stack([(a * b).sum(0), (a * a).sum(0), (b * b).sum(0)])))


@MODELS.register_module()
class DISTLoss(DistillLoss):
    """One minus the Pearson correlation between the class probabilities of student and teacher.

    * 'inter': correlation over the classes of a pixel, mean over pixels;
    * 'intra': correlation over all pixels of the batch, mean over classes.

    Both are multiplied by tau^2. Void pixels are included.

    With two classes, 'inter' is left out: the correlation of two probabilities that sum to 1 is 1 or -1, and has no
    gradient.

    As in the authors' code, 1e-8 is added to the product of the norms in the denominator of a correlation. A class that
    is absent from the batch, with a mean probability below about 1e-6 in both networks, therefore has a correlation
    and a gradient close to 0 in 'intra': what differs there is noise. With a lower bound of each norm instead, it would
    weigh as much as a class that is present.
    """

    def __init__(self, inter_weight: float = 1.0, intra_weight: float = 1.0, tau: float = 1.0) -> None:
        super().__init__()
        self.inter_weight = inter_weight
        self.intra_weight = intra_weight
        self.tau = tau

    def forward(self, preds_S: Tensor, preds_T: Tensor) -> Tensor:
        """The sum of `terms`, a scalar."""
        return sum_of_terms(self.terms(preds_S, preds_T), preds_S)

    def terms(self, preds_S: Tensor, preds_T: Tensor) -> dict[str, Tensor]:
        """The weighted terms 'inter', if there are more than two classes, and 'intra', of logits (N, C, h, w)."""
        check_same_shape(preds_S, preds_T)
        rows_S, rows_T = probability_rows(preds_S, self.tau), probability_rows(preds_T.detach(), self.tau)
        terms = {}
        if rows_S.shape[1] > 2:
            terms['inter'] = self.inter_weight * self.tau**2 * (1 - row_correlation(rows_S, rows_T).mean())
        terms['intra'] = self.intra_weight * self.tau**2 * (1 - column_correlation(rows_S, rows_T).mean())
        return terms


@in_full_precision
def probability_rows(preds: Tensor, tau: float) -> Tensor:
    """Class probabilities, one row per pixel: (N, C, H, W) to (N * H * W, C)."""
    return (preds / tau).softmax(1).movedim(1, 3).flatten(0, 2)
