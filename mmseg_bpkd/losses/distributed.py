"""What a batch that is split over processes has in common: sums and concatenations that gradients flow through.

DDP averages the gradients of the processes. A loss that is the mean over a process's share of a batch, of values made
with these functions, then has the gradient of one process with the whole batch. Every process must call them alike.
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
    return _Sum.apply(x) if world_size() > 1 else x


def gather_over_ranks(x: Tensor) -> Tensor:
    """(N, ...) of every rank, one after the other: (ranks * N, ...)."""
    if world_size() == 1:
        return x
    return sum_over_ranks(torch.cat([x if rank == get_rank() else torch.zeros_like(x) for rank in range(world_size())]))
