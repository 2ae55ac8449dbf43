"""Channel-wise distillation (CWD, Shu et al., ICCV 2021, arXiv 2011.13256)."""

from mmengine.registry import MODELS
from torch import Tensor

from .base import DistillLoss
from .functional import channel_kl


@MODELS.register_module()
class CWDLoss(DistillLoss):
    """weight * mean over images and channels of tau^2 * KL(teacher || student) over the positions of the logits.

    Void pixels are included, because the teacher needs no label there. MMRazor's recipes use tau=1 with weight=5
    (Cityscapes) or weight=10 (ADE20K).
    """

    def __init__(self, weight: float = 3.0, tau: float = 4.0) -> None:
        super().__init__()
        self.weight = weight
        self.tau = tau

    def forward(self, preds_S: Tensor, preds_T: Tensor) -> Tensor:
        return self.weight * channel_kl(preds_S, preds_T, self.tau).mean()


@MODELS.register_module()
class CWDFeatureLoss(CWDLoss):
    """Channel-wise distillation of the head's features. A trained 1x1 convolution aligns the student's features.

    The mean is over the channels of the teacher. CIRKD's reimplementation, also with weight=50, divides by the channels
    of the student: for heads with 512 and 128 channels, its weight is 4 times as large. It skips the convolution if the
    widths are equal.
    """

    align = True

    def __init__(self, weight: float = 50.0, tau: float = 4.0) -> None:
        super().__init__(weight, tau)

    def forward(self, feats_S: Tensor, feats_T: Tensor) -> Tensor:
        return super().forward(feats_S, feats_T)
