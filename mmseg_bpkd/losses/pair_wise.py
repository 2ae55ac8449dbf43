"""The pair-wise term of structured knowledge distillation (SKDS, Liu et al., CVPR 2019, arXiv 1903.04197)."""

from typing import Union

import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn

from .functional import in_full_precision


@in_full_precision
def affinity(feats: Tensor, kernel: tuple) -> Tensor:
    """Cosines between all pairs of positions of a max-pooled map, with P positions: (N, P, P)."""
    pooled = F.normalize(F.max_pool2d(feats, kernel, ceil_mode=True).flatten(2), dim=1)
    return pooled.transpose(1, 2) @ pooled


@MODELS.register_module()
class PairWiseLoss(nn.Module):
    """weight * mean (A_S - A_T)^2, where A is the `affinity` of the head's features, of any two widths.

    Void takes part. The authors' code has kernel=0.5 and weight=0.5.

    Args:
        kernel: pooling window and stride in cells, or, if below 1, as a share of the map.
    """

    any_width = True

    def __init__(self, weight: float = 10.0, kernel: Union[int, float] = 2) -> None:
        super().__init__()
        self.weight = weight
        self.kernel = kernel

    def forward(self, feats_S: Tensor, feats_T: Tensor) -> Tensor:
        extent = feats_T.shape[2:]
        window = tuple(max(1, int(self.kernel * x)) if self.kernel < 1 else min(int(self.kernel), x) for x in extent)
        return self.weight * F.mse_loss(affinity(feats_S, window), affinity(feats_T.detach(), window))
