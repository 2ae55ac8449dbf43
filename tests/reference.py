"""Direct implementations of KD, CWD and BPKD, with which the tests compare `functional.py` and `BPKDLoss`.

`bpkd_edge` averages over the classes, as `edge_norm='class'` does.
"""

import torch.nn.functional as F
from torch import Tensor

from mmseg_bpkd.ops.boundary import edge_masks


def kl(preds_S: Tensor, preds_T: Tensor, tau: float, dim: int) -> Tensor:
    """tau^2 KL(softmax(teacher / tau) || softmax(student / tau)) along a dimension."""
    log_S, log_T = (F.log_softmax(preds / tau, dim) for preds in (preds_S, preds_T.detach()))
    return tau**2 * F.kl_div(log_S, log_T, reduction='none', log_target=True).sum(dim)


def channel_kl(preds_S: Tensor, preds_T: Tensor, tau: float = 1.0) -> Tensor:
    """KL over the positions of each channel: (N, C) (CWD, arXiv 2011.13256, eq. 4)."""
    return kl(preds_S.flatten(2), preds_T.flatten(2), tau, dim=2)


def pixel_kl(preds_S: Tensor, preds_T: Tensor, tau: float = 1.0) -> Tensor:
    """KL over the classes of each cell: (N, H, W)."""
    return kl(preds_S, preds_T, tau, dim=1)


def bpkd_edge(
    preds_S: Tensor,
    preds_T: Tensor,
    gt: Tensor,
    class_weight: float = 1.0,
    kernel_size: int = 7,
    ignore_index: int = 255,
) -> Tensor:
    """The edge loss (arXiv 2306.08075, eq. 3), averaged over the classes with an edge, then over the images."""
    masks = edge_masks(gt, preds_S.shape[1], preds_S.shape[2:], kernel_size, ignore_index).to(preds_S)
    divergence = pixel_kl(preds_S * masks, preds_T * masks)  # pre-mask filter
    area = (masks > 0).sum((2, 3)).clamp(min=1)
    per_class = class_weight * (divergence[:, None] * masks).sum((2, 3)) / area  # post-mask filter
    has_edge = masks.amax((2, 3)) > 0
    return ((per_class * has_edge).sum(1) / has_edge.sum(1).clamp(min=1)).mean()


def bpkd_body(preds_S: Tensor, preds_T: Tensor, gt: Tensor, kernel_size: int = 7, ignore_index: int = 255) -> Tensor:
    """The body loss: channel-wise distillation of the logits outside the edges."""
    rest = 1 - edge_masks(gt, preds_S.shape[1], preds_S.shape[2:], kernel_size, ignore_index).to(preds_S)
    return channel_kl(preds_S * rest, preds_T * rest).mean()
