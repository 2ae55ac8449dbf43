"""Plain knowledge distillation, pixel by pixel."""
from mmengine.registry import MODELS
from torch import Tensor, nn

from .functional import pixel_kl


@MODELS.register_module()
class PixelWiseLoss(nn.Module):
    """weight * mean over all pixels of tau^2 KL(teacher || student) over the classes (Hinton et al., arXiv 1503.02531).

    Void pixels take part: the teacher needs no label there.
    """

    def __init__(self, weight: float = 1.0, tau: float = 1.0) -> None:
        super().__init__()
        self.weight = weight
        self.tau = tau

    def forward(self, preds_S: Tensor, preds_T: Tensor) -> Tensor:
        return self.weight * pixel_kl(preds_S, preds_T, self.tau).mean()
