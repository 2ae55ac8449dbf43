"""The mathematics that several losses share.

Logits are (N, C, H, W). Half precision is raised to float32, and the teacher is detached.
"""
from functools import wraps
from typing import Callable, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .ranks import sum_over_ranks, world_size


def full(x: Tensor) -> Tensor:
    """Half precision to float32; float32 and float64 stay."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def in_full_precision(function: Callable) -> Callable:
    """Runs a function or method of tensors, given by position, outside autocast and on `full` tensors.

    Autocast would otherwise lower matrix products and convolutions, whatever the type of what they are given.
    """
    @wraps(function)
    def run(*args, **kwargs):
        args = [full(x) if isinstance(x, Tensor) else x for x in args]
        device = next(x.device.type for x in args if isinstance(x, Tensor))
        with torch.autocast(device, enabled=False):
            return function(*args, **kwargs)

    return run


def pixel_kl(preds_S: Tensor, preds_T: Tensor, tau: float = 1.0) -> Tensor:
    """KL(teacher || student) over the classes of each pixel, times tau^2: (N, H, W), zero where both agree."""
    return _kl(preds_S, preds_T, tau, dim=1)


def pixel_entropy(preds: Tensor, tau: float = 1.0) -> Tensor:
    """Entropy of the classes of each pixel, times tau^2: (N, H, W)."""
    log_p = F.log_softmax(full(preds.detach()) / tau, dim=1)
    return -tau**2 * (log_p.exp() * log_p).sum(1)


def channel_kl(preds_S: Tensor, preds_T: Tensor, tau: float = 1.0) -> Tensor:
    """KL(teacher || student) over the positions of each channel, times tau^2: (N, C) (CWD, arXiv 2011.13256, eq. 4)."""
    check_same_shape(preds_S, preds_T)
    return _kl(preds_S.flatten(2), preds_T.flatten(2), tau, dim=2)


def edge_kl(preds_S: Tensor,
            preds_T: Tensor,
            masks: Tensor,
            class_weight: Tensor,
            tau: float = 1.0,
            norm: str = 'class',
            pre_mask: bool = True,
            post_mask: bool = True) -> Tensor:
    """The edge loss of BPKD (arXiv 2306.08075, eq. 3): pixel-wise KL on the edges, weighed class by class.

    With phi the KL of a pixel and M the masks, a class with edge area n_c = #{i: M_c,i > 0} contributes
    e_c = class_weight_c * sum_i phi_i M_c,i / n_c.

    Args:
        masks: (N, C, H, W) in [0, 1], from `edge_masks`.
        class_weight: scalar or (C,).
        norm: 'class' is the mean of e_c over the classes with an edge in the image; 'paper' is the sum over classes
            divided by H * W. Both are then averaged over the images.
        pre_mask: multiply the logits by the masks first.
        post_mask: False is the mean of phi over the cells with any edge; `class_weight` and `norm` do not apply.

    Returns:
        A scalar; zero, with a gradient path, where no image has an edge.
    """
    masks, class_weight = masks.to(full(preds_S)), class_weight.to(full(preds_S))
    if pre_mask:
        preds_S, preds_T = full(preds_S) * masks, full(preds_T) * masks
    phi = pixel_kl(preds_S, preds_T, tau)
    if post_mask:
        area = (masks > 0).sum((2, 3)).to(masks)
        share = 1 / phi[0].numel() if norm == 'paper' else 1 / (area > 0).sum(1, keepdim=True).clamp(min=1).to(masks)
        per_class = class_weight * share / area.clamp(min=1)
        weight = (masks * per_class[:, :, None, None]).sum(1)  # einsum would run in half precision under autocast
    else:
        on_edge = masks.amax(1) > 0
        weight = on_edge / on_edge.sum((1, 2), keepdim=True).clamp(min=1)
    return (phi * weight).sum() / len(phi)


def _kl(preds_S: Tensor, preds_T: Tensor, tau: float, dim: int) -> Tensor:
    check_same_shape(preds_S, preds_T)
    log_S = F.log_softmax(full(preds_S) / tau, dim)
    log_T = F.log_softmax(full(preds_T.detach()) / tau, dim)
    return tau**2 * F.kl_div(log_S, log_T, reduction='none', log_target=True).sum(dim)


def check_same_shape(preds_S: Tensor, preds_T: Tensor) -> None:
    if preds_S.shape != preds_T.shape:
        raise ValueError(f'student and teacher must have the same shape to be compared, got {tuple(preds_S.shape)} and '
                         f'{tuple(preds_T.shape)}')


def class_maps(gt: Tensor, num_classes: int, size: Tuple[int, int], ignore_index: int = 255) -> Tensor:
    """Where each class is on a grid of another size, by the nearest pixel; void is nowhere.

    Args:
        gt: labels, (N, H, W).
        size: (h, w).

    Returns:
        (N, C, h * w), bool.
    """
    gt = F.interpolate(gt[:, None].float(), size, mode='nearest').long().flatten(2)  # (N, 1, h * w)
    return (gt == torch.arange(num_classes, device=gt.device)[:, None]) & (gt != ignore_index)


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of x where mask is true; 0, with a gradient path, where it never is.

    The count is that of all ranks' batches, so that every pixel weighs the same however they are split.
    """
    count = sum_over_ranks(mask.sum()) / world_size()
    return x.masked_fill(~mask, 0).sum() / count.clamp(min=1 / world_size())
