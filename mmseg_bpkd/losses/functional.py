"""The mathematics that several losses share.

Logits are (N, C, H, W). Half precision is raised to float32, and the teacher is detached.
"""

from functools import wraps
from typing import Callable, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx, once_differentiable

from .distributed import sum_over_ranks, world_size


def upcast(x: Tensor) -> Tensor:
    """Half precision to float32; float32 and float64 stay."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def in_full_precision(function: Callable) -> Callable:
    """Runs a function or method of tensors, given by position, outside autocast and on `upcast` tensors.

    Autocast would otherwise lower matrix products and convolutions, whatever the type of what they are given.
    """

    @wraps(function)
    def run(*args, **kwargs):
        args = [upcast(x) if isinstance(x, Tensor) else x for x in args]
        device = next(x.device.type for x in args if isinstance(x, Tensor))
        with torch.autocast(device, enabled=False):
            return function(*args, **kwargs)

    return run


def pixel_kl(preds_S: Tensor, preds_T: Tensor, tau: float = 1.0, mask: Optional[Tensor] = None) -> Tensor:
    """KL(teacher || student) over the classes of each pixel, times tau^2: (N, H, W), zero where both agree.

    With a mask, (N, C, H, W), of both times the mask.
    """
    check_same_shape(preds_S, preds_T)
    return KLDivergence.apply(upcast(preds_S), upcast(preds_T.detach()), tau, 1, mask)


def pixel_entropy(preds: Tensor, tau: float = 1.0) -> Tensor:
    """Entropy of the classes of each pixel, times tau^2: (N, H, W)."""
    log_p = F.log_softmax(upcast(preds.detach()) / tau, dim=1)
    return -(tau**2) * (log_p.exp() * log_p).sum(1)


def channel_kl(preds_S: Tensor, preds_T: Tensor, tau: float = 1.0, mask: Optional[Tensor] = None) -> Tensor:
    """KL(teacher || student) over the positions of each channel, times tau^2: (N, C) (CWD, arXiv 2011.13256, eq. 4).

    With a mask, (N, C, H, W), of both times the mask.
    """
    check_same_shape(preds_S, preds_T)
    check_same_shape(preds_S, preds_T)
    preds_S, preds_T = upcast(preds_S).flatten(2), upcast(preds_T.detach()).flatten(2)
    return KLDivergence.apply(preds_S, preds_T, tau, 2, None if mask is None else mask.flatten(2))


def edge_weights(masks: Tensor, class_weight: Tensor, norm: str = 'class', post_mask: bool = True) -> Tensor:
    """What the divergence of each cell counts in the edge loss of BPKD (arXiv 2306.08075, eq. 3).

    With phi the divergence of a cell and M the masks, a class with edge area n_c = #{i: M_c,i > 0} contributes
    e_c = class_weight_c * sum_i phi_i M_c,i / n_c.

    Args:
        masks: (N, C, H, W) in [0, 1], from `edge_masks`.
        class_weight: scalar or (C,).
        norm: 'class' is the mean of e_c over the classes with an edge in the image; 'paper' is the sum over classes
            divided by H * W. Both are then averaged over the images.
        post_mask: False is the mean of phi over the cells with any edge; `class_weight` and `norm` do not apply.

    Returns:
        (N, H, W); the loss is (phi * weights).sum(), and 0 where no image has an edge.
    """
    if post_mask:
        area = (masks > 0).sum((2, 3)).to(masks)
        parts = masks[0, 0].numel() if norm == 'paper' else (area > 0).sum(1, keepdim=True).clamp(min=1)
        per_class = class_weight / parts / area.clamp(min=1)
        weights = (masks * per_class[:, :, None, None]).sum(1)  # einsum would run in half precision under autocast
    else:
        on_edge = (masks.amax(1) > 0).to(masks)
        weights = on_edge / on_edge.sum((1, 2), keepdim=True).clamp(min=1)
    return weights / len(masks)


class KLDivergence(Function):
    """tau^2 KL(teacher || student) along a dimension of (mask * logits), without the mask if it is None.

    Its gradient is computed in the forward pass, so that one tensor of the size of the logits is kept, where autograd
    would keep three, and two more for a mask.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, preds_S: Tensor, preds_T: Tensor, tau: float, dim: int, mask: Optional[Tensor]
    ) -> Tensor:
        scale = 1 / tau if mask is None else mask / tau
        log_S, log_T = F.log_softmax(preds_S * scale, dim), F.log_softmax(preds_T * scale, dim)
        probs_T = log_T.exp()
        divergence = tau**2 * log_T.sub_(log_S).mul_(probs_T).sum(dim)
        ctx.save_for_backward(log_S.exp_().sub_(probs_T).mul_(scale).mul_(tau**2))
        ctx.dim = dim
        return divergence

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, upstream: Tensor) -> Tuple[Optional[Tensor], ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream.unsqueeze(ctx.dim), None, None, None, None


def check_same_shape(preds_S: Tensor, preds_T: Tensor) -> None:
    if preds_S.shape != preds_T.shape:
        raise ValueError(
            f'student and teacher must have the same shape to be compared, got {tuple(preds_S.shape)} and '
            f'{tuple(preds_T.shape)}'
        )


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
