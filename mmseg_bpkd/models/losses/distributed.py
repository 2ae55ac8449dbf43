"""Sums and concatenations over all processes, with gradients.

DDP averages the gradients of the processes. A loss must average over the images of its own process, and use these
functions for terms that depend on the images of other processes. Its gradient then equals that of one process with the
whole batch. All processes must call these functions in the same order.
"""

import torch
import torch.distributed as dist
from mmengine.dist import get_rank
from mmengine.dist import get_world_size as world_size
from torch import Tensor

__all__ = ['gather_over_ranks', 'sum_over_ranks', 'world_size']


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        x = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return _Sum.apply(grad)


def sum_over_ranks(x: Tensor) -> Tensor:
    """The sum of x over all processes, with the shape of x."""
    return _Sum.apply(x) if world_size() > 1 else x


def gather_over_ranks(x: Tensor) -> Tensor:
    """Concatenates the (N, ...) of all processes, in the order of their ranks: (ranks * N, ...)."""
    if world_size() == 1:
        return x
    return sum_over_ranks(torch.cat([x if rank == get_rank() else torch.zeros_like(x) for rank in range(world_size())]))
