"""First-in, first-out memories of feature vectors, one per class."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .distributed import gather_over_ranks
from .functional import in_full_precision

Entries = tuple[Tensor, Tensor]  # unit vectors (N, C, K, D), and a mask of the valid ones (N, C, K)


@in_full_precision
@torch.no_grad()
def class_embeddings(feats: Tensor, maps: Tensor, most: int) -> tuple[Entries, Entries]:
    """Random positions of each class in each image, and the mean feature of the class.

    Args:
        feats: (N, D, h, w).
        maps: (N, C, h * w), bool, from `class_maps`.
        most: maximum number of positions per class and image.

    Returns:
        The entries of the positions and of the means.
    """
    feats = F.normalize(feats.flatten(2), dim=1)
    positions, exists = _random_positions(maps, most)
    pixels = torch.stack([image_feats.t()[chosen] for image_feats, chosen in zip(feats, positions)])
    means = F.normalize(maps.to(feats) @ feats.transpose(1, 2), dim=2)
    return (pixels, exists), (means[:, :, None], maps.any(2, keepdim=True))


def _random_positions(maps: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Up to `most` random positions of each class in each image, in the order of the image.

    Returns:
        Positions (N, C, K), and which of them exist (N, C, K). Those that do not come last.
    """
    images, _, size = maps.shape
    chance = torch.rand(images, 1, size, device=maps.device)
    best = chance.expand(maps.shape).masked_fill(~maps, -1).topk(min(most, size))
    positions = best.indices.masked_fill(best.values < 0, size).sort().values
    return positions.clamp(max=size - 1), positions < size


class ClassMemory(nn.Module):
    """The last `size` vectors of each class, in half precision.

    Every process adds the vectors of all processes in the order of their ranks, so that all memories stay equal.

    Raises:
        ValueError: if `size` is less than 1.
    """

    vectors: Tensor
    written: Tensor

    def __init__(self, num_classes: int, size: int, width: int) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f'a memory must hold at least one vector per class, got {size}')
        self.register_buffer('vectors', torch.zeros(num_classes, size, width, dtype=torch.half))
        self.register_buffer('written', torch.zeros(num_classes, dtype=torch.long))

    @property
    def mebibytes(self) -> float:
        return self.vectors.numel() * self.vectors.element_size() / 2**20

    @torch.no_grad()
    def add(self, vectors: Tensor, exists: Tensor) -> None:
        """Adds the vectors (N, C, K, D) of N images where `exists` (N, C, K) is true."""
        vectors = gather_over_ranks(vectors.to(self.vectors.dtype)).transpose(0, 1).flatten(1, 2)  # (C, N * K, D)
        exists = gather_over_ranks(exists.to(torch.uint8)).bool().transpose(0, 1).flatten(1, 2)
        number = exists.cumsum(1)  # position of an entry among those of its class, from 1
        size = self.vectors.shape[1]
        kept = exists & (number > number[:, -1:] - size)  # if there are more than fit, the last ones
        slots = (self.written[:, None] + number - 1) % size
        classes = torch.arange(len(vectors), device=vectors.device)[:, None].expand_as(slots)
        self.vectors[classes[kept], slots[kept]] = vectors[kept]
        self.written += number[:, -1]

    def draw(self, most: int) -> Tensor:
        """Draws up to `most` written vectors of each class, at random and without repetition: (M, D)."""
        size = self.vectors.shape[1]
        filled = torch.arange(size, device=self.written.device) < self.written[:, None]
        chance = torch.rand(filled.shape, device=filled.device).masked_fill(~filled, -1)
        best = chance.topk(min(most, size))
        index = best.indices.masked_fill(best.values < 0, size).sort(1).values
        exists = index < size
        classes = torch.arange(len(index), device=index.device)[:, None].expand_as(index)
        return self.vectors[classes[exists], index[exists]]
