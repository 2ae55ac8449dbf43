"""Adaptive inter-class similarity distillation (AICSD, Mansourian et al., 2023, arXiv 2308.04243)."""

from math import log

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

from .base import DistillLoss
from .functional import check_same_shape, in_full_precision


@in_full_precision
def class_divergences(preds: Tensor, tau: float = 1.0) -> Tensor:
    """KL(p_i || p_j) for every two classes of each image, where p_i is the softmax of class i over the positions.

    KL(p_i || p_j) = sum p_i log p_i - sum p_i log p_j, so one matrix product gives all pairs: no tensor has more than
    C^2 or C * H * W elements per image.

    Args:
        preds: logits, (N, C, H, W).

    Returns:
        (N, C, C), non-negative, with zeros on the diagonal.

    >>> import torch
    >>> log_p = torch.tensor([[0.9, 0.1], [0.5, 0.5]]).log()  # two classes, two positions
    >>> class_divergences(log_p.view(1, 2, 1, 2))
    tensor([[[0.0000, 0.3681],
             [0.5108, 0.0000]]])
    """
    logits = preds.flatten(2) / tau
    # relative to the uniform distribution, which cancels in KL; flat distributions then lose no digits
    log_p = logits.log_softmax(2) + log(logits.shape[2])
    product = logits.softmax(2) @ log_p.transpose(1, 2)
    return product.diagonal(dim1=1, dim2=2).unsqueeze(2) - product


@MODELS.register_module()
class AICSDLoss(DistillLoss):
    """weight * mean (K_S - K_T)^2, where K are the `class_divergences` of the logits. Void pixels are included.

    Every image has its own C x C matrix. This is the formula that the README of AmirMansurian/AICSD (commit f99949e)
    describes. The `distiller.py` there differs:

    * The softmax runs over the height only. The KL divergence takes probabilities where log-probabilities belong.
    * The matrix is averaged over the batch, made symmetric, and each row is scaled to length 1 (see `normalize`).
    * The logits are enlarged to the image first.
    * The weight, `--lo_lambda`, has no value. The 9500 of the README is for `--pa_lambda`, the weight of another term.

    The default weight is ours and was not tuned: on the CamVid pair, the loss is then about 0.7 times the
    cross-entropy. `AdaptiveLossWeightHook` adds the adaptive weights, the A of AICSD.

    Args:
        tau: temperature of the softmax.
        normalize: scales each row of a matrix to length 1. Then only the relations between the divergences count.

    Raises:
        ValueError: by `forward`, if `normalize` is set and there are two classes: each row has one divergence, which
            would become 1.
    """

    def __init__(self, weight: float = 0.1, tau: float = 1.0, normalize: bool = False) -> None:
        super().__init__()
        self.weight = weight
        self.tau = tau
        self.normalize = normalize

    def forward(self, preds_S: Tensor, preds_T: Tensor) -> Tensor:
        check_same_shape(preds_S, preds_T)
        if self.normalize and preds_S.shape[1] < 3:
            raise ValueError(
                'AICSDLoss(normalize=True) needs at least 3 classes: with two, each row of the matrix has one '
                'divergence, which becomes 1 in student and teacher. Set normalize=False'
            )
        matrices = [class_divergences(preds, self.tau) for preds in (preds_S, preds_T.detach())]
        if self.normalize:
            matrices = [F.normalize(matrix, dim=2, eps=1e-6) for matrix in matrices]
        return self.weight * F.mse_loss(*matrices)
