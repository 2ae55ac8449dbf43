"""First-in-first-out memories of feature vectors, one for each class."""

from typing import Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .distributed import gather_over_ranks
from .functional import in_full_precision

Entries = Tuple[Tensor, Tensor]  # vectors of length 1 (N, C, K, D), and which of them exist (N, C, K)


@in_full_precision
@torch.no_grad()
def class_embeddings(feats: Tensor, maps: Tensor, most: int) -> Tuple[Entries, Entries]:
    """Of each image and class, `most` positions drawn at random (all, if there are no more), and their mean.

    Args:
        feats: (N, D, h, w).
        maps: where the classes are, (N, C, h * w), bool.
    """
    feats = F.normalize(feats.flatten(2), dim=1)
    chance = torch.rand(maps.shape[0], 1, maps.shape[2], device=maps.device)
    best = chance.expand(maps.shape).masked_fill(~maps, -1).topk(min(most, maps.shape[2]))
    exists = best.values >= 0
    index = best.indices.masked_fill(~exists, maps.shape[2]).sort().values  # in their order in the image, then none
    exists = index < maps.shape[2]
    index = index.clamp(max=maps.shape[2] - 1)
    pixels = torch.stack([image.t()[i] for image, i in zip(feats, index)])
    means = F.normalize(maps.to(feats) @ feats.transpose(1, 2), dim=2)
    return (pixels, exists), (means[:, :, None], maps.any(2, keepdim=True))


class ClassMemory(nn.Module):
    """The last `size` vectors of each class, in half precision.

    Every rank adds what all ranks have, in the order of the ranks, and so holds the same.
    """

    def __init__(self, num_classes: int, size: int, width: int) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f'a memory must hold at least one vector of each class, got {size}')
        self.register_buffer('vectors', torch.zeros(num_classes, size, width, dtype=torch.half))
        self.register_buffer('written', torch.zeros(num_classes, dtype=torch.long))

    @property
    def megabytes(self) -> float:
        return self.vectors.numel() * self.vectors.element_size() / 2**20

    @torch.no_grad()
    def add(self, vectors: Tensor, exists: Tensor) -> None:
        """Vectors (N, C, K, D) of N images, where `exists` (N, C, K)."""
        vectors = gather_over_ranks(vectors.to(self.vectors.dtype)).transpose(0, 1).flatten(1, 2)  # (C, N * K, D)
        exists = gather_over_ranks(exists.to(torch.uint8)).bool().transpose(0, 1).flatten(1, 2)
        number = exists.cumsum(1)  # of an entry among those of its class, from 1
        size = self.vectors.shape[1]
        kept = exists & (number > number[:, -1:] - size)  # of more than fit, the last
        slots = (self.written[:, None] + number - 1) % size
        classes = torch.arange(len(vectors), device=vectors.device)[:, None].expand_as(slots)
        self.vectors[classes[kept], slots[kept]] = vectors[kept]
        self.written += number[:, -1]

    def draw(self, most: int) -> Tensor:
        """Up to `most` vectors of each class, at random and without repetition; none of what was never written."""
        size = self.vectors.shape[1]
        filled = torch.arange(size, device=self.written.device) < self.written[:, None]
        chance = torch.rand(filled.shape, device=filled.device).masked_fill(~filled, -1)
        best = chance.topk(min(most, size))
        index = best.indices.masked_fill(best.values < 0, size).sort(1).values
        exists = index < size
        classes = torch.arange(len(index), device=index.device)[:, None].expand_as(index)
        return self.vectors[classes[exists], index[exists]]
