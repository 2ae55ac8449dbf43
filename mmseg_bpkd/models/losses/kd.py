"""Pixel-wise knowledge distillation (KD, Hinton et al., arXiv 1503.02531)."""

from mmengine.registry import MODELS
from torch import Tensor

from .base import DistillLoss
from .functional import check_same_shape, pixel_entropy, pixel_kl, standardize_logits

NORMS = ('pixels', 'elements', 'positions')


@MODELS.register_module()
class KDLoss(DistillLoss):
    """weight * mean over all pixels of tau^2 * KL(teacher || student) over the classes.

    Void pixels are included, because the teacher needs no label there. SKDS (arXiv 1903.04197) uses weight=10,
    norm='positions' and cross_entropy=True. The code of IFVD and APD uses weight=10 and norm='elements'.

    Args:
        norm: divisor of the sum over the batch of logits, (N, C, h, w). 'pixels': N * h * w. 'elements': N * C * h * w.
            'positions': h * w, so that the loss grows with N.
        cross_entropy: adds the teacher's entropy. This changes the value, but not the gradient.
        standardize: standardizes the logits of both first (LSKD; see `standardize_logits`). Then `tau` is a temperature
            in units of the standard deviation, and the student need not match the range of the teacher's logits.

    Raises:
        ValueError: if `norm` is none of these. By `forward`, if the shapes differ, or if `standardize` is set and there
            are two classes.
    """

    def __init__(
        self,
        weight: float = 1.0,
        tau: float = 1.0,
        norm: str = 'pixels',
        cross_entropy: bool = False,
        standardize: bool = False,
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f'norm must be one of {NORMS}, got {norm!r}')
        self.weight = weight
        self.tau = tau
        self.norm = norm
        self.cross_entropy = cross_entropy
        self.standardize = standardize

    def forward(self, preds_S: Tensor, preds_T: Tensor) -> Tensor:
        check_same_shape(preds_S, preds_T)
        if self.standardize:
            preds_S, preds_T = standardize_logits(preds_S), standardize_logits(preds_T)
        divergence = pixel_kl(preds_S, preds_T, self.tau)
        if self.cross_entropy:
            divergence = divergence + pixel_entropy(preds_T, self.tau)
        images, num_classes = preds_S.shape[:2]
        factor = dict(pixels=1, elements=1 / num_classes, positions=images)[self.norm]
        return self.weight * factor * divergence.mean()
