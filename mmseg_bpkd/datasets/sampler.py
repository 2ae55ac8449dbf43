"""An endless sampler whose position is arithmetic, so that a resumed run need not replay its data."""

import itertools
from typing import Iterator, Optional, Sized

import numpy as np
import torch
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Sampler


def mix_seeds(*parts: int) -> int:
    """One 32-bit seed from several numbers, without the collisions that adding them would have."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


class SampleIndex(int):
    """A data set index that carries the seed of its augmentation to the worker that loads it."""

    def __new__(cls, index: int, seed: int):
        self = super().__new__(cls, index)
        self.seed = seed
        return self

    def __getnewargs__(self):
        return int(self), self.seed

    def __mod__(self, size: int) -> 'SampleIndex':  # as RepeatDataset renumbers
        return SampleIndex(int(self) % size, self.seed)

    def __sub__(self, offset: int) -> 'SampleIndex':  # as ConcatDataset renumbers
        return SampleIndex(int(self) - offset, self.seed)


@DATA_SAMPLERS.register_module()
class ResumableSampler(Sampler):
    """Yields shuffled `SampleIndex`es without end; epoch e is a permutation seeded by (seed, e).

    Takes the place of mmengine's `InfiniteSampler`. The ranks share one stream and take turns; with `start` set,
    iteration begins at that position of it at once.

    Args:
        seed: the same on every rank; drawn and shared between the ranks if None.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: Optional[int] = None) -> None:
        self.rank, self.world_size = get_dist_info()
        self.size = len(dataset)
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.start = 0

    def __iter__(self) -> Iterator[SampleIndex]:
        current_epoch, order = None, None
        for position in itertools.count(self.start + self.rank, self.world_size):
            epoch, offset = divmod(position, self.size)
            if epoch != current_epoch:
                current_epoch, order = epoch, self._order(epoch)
            yield SampleIndex(order[offset], mix_seeds(self.seed, position))

    def _order(self, epoch: int) -> list:
        if not self.shuffle:
            return list(range(self.size))
        generator = torch.Generator().manual_seed(mix_seeds(self.seed, epoch))
        return torch.randperm(self.size, generator=generator).tolist()

    def __len__(self) -> int:
        return self.size
