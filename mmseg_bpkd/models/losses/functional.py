"""Functions that several losses share. Logits are (N, C, H, W).

The divergences upcast half precision to float32 and detach the teacher.
"""

from collections.abc import Callable, Mapping
from functools import reduce, wraps
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .distributed import sum_over_ranks, world_size


def upcast(x: Tensor) -> Tensor:
    """Converts half precision to float32. Other types stay as they are.

    >>> upcast(torch.ones(1, dtype=torch.float16)).dtype, upcast(torch.ones(1, dtype=torch.float64)).dtype
    (torch.float32, torch.float64)
    """
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def in_full_precision(function: Callable) -> Callable:
    """Decorator: runs a function outside autocast, with its positional tensors upcast.

    Upcasting alone is not enough: autocast lowers the precision of matrix products and convolutions whatever the type
    of their inputs.
    """

    @wraps(function)
    def run(*args, **kwargs):
        args = [upcast(x) if isinstance(x, Tensor) else x for x in args]
        device = next(x.device.type for x in args if isinstance(x, Tensor))
        with torch.autocast(device, enabled=False):
            return function(*args, **kwargs)

    return run


def two_class_logits(*preds: Tensor) -> tuple[Tensor, ...]:
    """Logits of two classes with the same probabilities, if one of the heads has one channel (sigmoid).

    One channel z becomes (-z / 2, z / 2), whose softmax is (1 - sigmoid(z), sigmoid(z)). Class 1 is the foreground, as
    in MMSegmentation. The softmax of (0, z) is the same. But some losses compare each channel over the positions, and
    the constant channel of (0, z) would tell them nothing about class 0. A head with two channels that is trained by
    cross-entropy is close to (-z / 2, z / 2): the gradient of cross-entropy sums to 0 over the classes, so training
    leaves the mean logit as it was initialized.

    Two channels (a, b) beside a head with one channel are treated as z = b - a. All other logits are returned as they
    are.

    Args:
        preds: logits of student and teacher, or of one of them, each (N, C, H, W).

    Returns:
        As many tensors: (N, 2, H, W), or the arguments.

    >>> z, softmax_head = torch.full((1, 1, 1, 1), 3.0), torch.tensor([1.0, 5.0]).view(1, 2, 1, 1)
    >>> [x.flatten().tolist() for x in two_class_logits(z, softmax_head)]
    [[-1.5, 1.5], [-2.0, 2.0]]
    """
    channels = {x.shape[1] for x in preds}
    if 1 not in channels or not channels <= {1, 2}:
        return preds
    log_odds = [upcast(x) if x.shape[1] == 1 else upcast(x).diff(dim=1) for x in preds]
    return tuple(torch.cat([-z / 2, z / 2], dim=1) for z in log_odds)


def pixel_kl(preds_S: Tensor, preds_T: Tensor, tau: float = 1.0, mask: Tensor | None = None) -> Tensor:
    """tau^2 * KL(teacher || student) over the classes of each pixel (Hinton et al., arXiv 1503.02531).

    Args:
        preds_S, preds_T: logits, (N, C, H, W).
        mask: (N, C, H, W), multiplies both logits; None: no mask.

    Returns:
        (N, H, W), non-negative, zero where both agree.

    Raises:
        ValueError: if the shapes of the logits differ.

    >>> student, teacher = torch.zeros(1, 2, 1, 1), torch.tensor([0.9, 0.1]).log().view(1, 2, 1, 1)
    >>> pixel_kl(student, teacher)  # 0.9 log(0.9 / 0.5) + 0.1 log(0.1 / 0.5)
    tensor([[[0.3681]]])
    """
    check_same_shape(preds_S, preds_T)
    return KLDivergence.apply(upcast(preds_S), upcast(preds_T.detach()), tau, 1, mask)


def pixel_entropy(preds: Tensor, tau: float = 1.0) -> Tensor:
    """tau^2 * entropy over the classes of each pixel, without a gradient.

    Args:
        preds: logits, (N, C, H, W).

    Returns:
        (N, H, W).

    >>> pixel_entropy(torch.zeros(1, 2, 1, 1))  # log(2)
    tensor([[[0.6931]]])
    """
    log_p = F.log_softmax(upcast(preds.detach()) / tau, dim=1)
    return -(tau**2) * (log_p.exp() * log_p).sum(1)


def standardize_logits(preds: Tensor) -> Tensor:
    """Standardizes the logits of each pixel: (Z - mean) / (std + 1e-7) over the classes.

    This is the z-score of LSKD (Sun et al., CVPR 2024, arXiv 2403.01427). As in `mdistiller/distillers/KD.py` of
    sunshangquan/logit-standardization-KD (commit f6e5aa5), the variance is divided by C - 1.

    Logits that differ by no more than rounding errors become 0, with a gradient of 0. Dividing them by 1e-7 would give
    noise, and gradients that overflow half precision.

    Args:
        preds: logits, (N, C, H, W).

    Returns:
        (N, C, H, W), with a mean of 0 and a variance of 1 over the classes.

    Raises:
        ValueError: if there are two classes. Only the sign of the difference of their logits would be left, which has
            no gradient.

    >>> standardize_logits(torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)).flatten()
    tensor([-1.0000,  0.0000,  1.0000])
    """
    if preds.shape[1] < 3:
        raise ValueError(
            'standardize=True needs at least 3 classes: the z-score of the logits of two classes is only the sign of '
            'their difference, which has no gradient. Set standardize=False'
        )
    preds = upcast(preds)
    mean = preds.mean(1, keepdim=True)
    centered = preds - mean
    std = torch.linalg.vector_norm(centered, dim=1, keepdim=True) / (preds.shape[1] - 1) ** 0.5
    is_constant = std <= 8 * torch.finfo(preds.dtype).eps * mean.abs()
    return (centered / (std + 1e-7)).masked_fill(is_constant, 0)


def channel_kl(preds_S: Tensor, preds_T: Tensor, tau: float = 1.0, mask: Tensor | None = None) -> Tensor:
    """tau^2 * KL(teacher || student) over the positions of each channel (CWD, arXiv 2011.13256, eq. 4).

    Args:
        preds_S, preds_T: logits or features, (N, C, H, W).
        mask: (N, C, H, W), multiplies both; None: no mask.

    Returns:
        (N, C), non-negative, zero where both agree.

    Raises:
        ValueError: if the shapes differ.

    >>> student, teacher = torch.zeros(1, 1, 1, 2), torch.tensor([0.9, 0.1]).log().view(1, 1, 1, 2)
    >>> channel_kl(student, teacher)
    tensor([[0.3681]])
    """
    check_same_shape(preds_S, preds_T)
    preds_S, preds_T = upcast(preds_S).flatten(2), upcast(preds_T.detach()).flatten(2)
    return KLDivergence.apply(preds_S, preds_T, tau, 2, None if mask is None else mask.flatten(2))


def edge_weights(masks: Tensor, class_weight: Tensor, norm: str = 'class', post_mask: bool = True) -> Tensor:
    """Weight of each cell's divergence in BPKD's edge loss (arXiv 2306.08075, eq. 3 and appendix B).

    Let phi be the divergence of a cell, M the masks, n_c = #{i: M_c,i > 0} the edge area of class c, and
    s_c = class_weight_c * sum_i phi_i M_c,i. The loss of an image is (phi * weights).sum() * N:

    =========  ====================================================================
    norm       loss of an image
    =========  ====================================================================
    'class'    mean of s_c / n_c over the classes that have an edge in the image
    'paper'    sum over the classes of s_c / n_c, divided by h * w (equation 3)
    'mean'     sum over the classes of s_c, divided by C * h * w (appendix B)
    'edge'     sum over the classes of s_c, divided by the sum of M: a mean over the edge cells
    =========  ====================================================================

    Args:
        masks: (N, C, h, w) in [0, 1], from `edge_masks`.
        class_weight: scalar or (C,).
        post_mask: if False, all M above 0 count as 1. Nothing else changes.

    Returns:
        (N, h, w). All weights of an image without edges are 0.

    >>> masks = torch.tensor([[[[0.5, 1, 0]], [[0, 1, 0]]]])  # classes 0 and 1, with edge areas 2 and 1
    >>> edge_weights(masks, torch.tensor(1.0))  # (0.5 / 2) / 2 and (1 / 2 + 1 / 1) / 2
    tensor([[[0.1250, 0.7500, 0.0000]]])
    >>> edge_weights(masks, torch.tensor(1.0), norm='edge')  # 0.5 / 2.5 and 2 / 2.5
    tensor([[[0.2000, 0.8000, 0.0000]]])
    """
    on_edge = (masks > 0).to(masks)
    if not post_mask:
        masks = on_edge
    divisor: Tensor | int
    if norm == 'edge':
        divisor = masks.sum((1, 2, 3)).clamp(min=torch.finfo(masks.dtype).eps)[:, None]
    elif norm == 'mean':
        divisor = masks[0].numel()
    else:
        area = on_edge.sum((2, 3))
        parts = masks[0, 0].numel() if norm == 'paper' else (area > 0).sum(1, keepdim=True).clamp(min=1)
        divisor = parts * area.clamp(min=1)
    per_class = class_weight / divisor * torch.ones_like(masks[:, :, 0, 0])
    # Autocast would run einsum in half precision.
    return (masks * per_class[:, :, None, None]).sum(1) / len(masks)


class KLDivergence(Function):
    """tau^2 * KL(teacher || student) of mask * logits along one dimension. `reference.kl` has the formula.

    The forward pass computes the gradient and keeps only that: one tensor of the size of the logits. Autograd would
    keep three, and two more for a mask.
    """

    @staticmethod
    def forward(ctx: Any, preds_S: Tensor, preds_T: Tensor, tau: float, dim: int, mask: Tensor | None) -> Tensor:
        scale = 1 / tau if mask is None else mask / tau
        log_S, log_T = F.log_softmax(preds_S * scale, dim), F.log_softmax(preds_T * scale, dim)
        probs_T = log_T.exp()
        divergence = tau**2 * log_T.sub_(log_S).mul_(probs_T).sum(dim)
        ctx.save_for_backward(log_S.exp_().sub_(probs_T).mul_(scale).mul_(tau**2))
        ctx.dim = dim
        return divergence

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream.unsqueeze(ctx.dim), None, None, None, None


def check_same_shape(preds_S: Tensor, preds_T: Tensor) -> None:
    """Raises a ValueError if the shapes differ."""
    if preds_S.shape != preds_T.shape:
        raise ValueError(
            'student and teacher must have the same shape to be compared, got '
            f'{tuple(preds_S.shape)} and {tuple(preds_T.shape)}'
        )


def class_maps(gt: Tensor, num_classes: int, size: tuple[int, ...], ignore_index: int = 255) -> Tensor:
    """One-hot label, resized by nearest neighbor. Void pixels belong to no class.

    Args:
        gt: label, (N, H, W).
        size: (h, w).

    Returns:
        (N, C, h * w), bool.

    >>> class_maps(torch.tensor([[[0, 1, 255]]]), num_classes=2, size=(1, 3)).int()
    tensor([[[1, 0, 0],
             [0, 1, 0]]], dtype=torch.int32)
    """
    gt = F.interpolate(gt[:, None].float(), size, mode='nearest').long().flatten(2)  # (N, 1, h * w)
    return (gt == torch.arange(num_classes, device=gt.device)[:, None]) & (gt != ignore_index)


def sum_of_terms(terms: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """The sum of the terms of a loss, a scalar. Without terms, it is 0, with a gradient path to `x`.

    >>> sum_of_terms({'edge': torch.tensor(1.0), 'body': torch.tensor(2.0)}, torch.zeros(1))
    tensor(3.)
    """
    return reduce(torch.add, terms.values()) if terms else 0 * upcast(x).sum()


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of x where the mask is true. It is 0, with a gradient path, if the mask is nowhere true.

    The number of true elements is averaged over all processes, so that every pixel has the same weight however the
    batch is split.

    >>> masked_mean(torch.tensor([1.0, 2.0, 9.0]), torch.tensor([True, True, False]))
    tensor(1.5000)
    """
    count = sum_over_ranks(mask.sum()) / world_size()
    return x.masked_fill(~mask, 0).sum() / count.clamp(min=1 / world_size())
