"""An endless sampler that computes any position directly, so that a resumed run does not replay its data."""

import itertools
import math
from collections.abc import Iterator, Sized

import numpy as np
import torch
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

from .labels import DataError


def mix_seeds(*parts: int) -> int:
    """Hashes several non-negative integers to one 32-bit seed. Adding them would map (1, 2) and (2, 1) to one seed."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


class SampleIndex(int):
    """A dataset index that carries the augmentation seed of its sample to the worker that loads it."""

    seed: int

    def __new__(cls, index: int, seed: int):
        self = super().__new__(cls, index)
        self.seed = seed
        return self

    def __getnewargs__(self):
        return int(self), self.seed

    def __mod__(self, size: int) -> 'SampleIndex':  # RepeatDataset converts indices with %
        return SampleIndex(int(self) % size, self.seed)

    def __sub__(self, offset: int) -> 'SampleIndex':  # ConcatDataset converts indices with -
        return SampleIndex(int(self) - offset, self.seed)


@DATA_SAMPLERS.register_module()
class ResumableSampler(Sampler):
    """Yields `SampleIndex` objects without end. Epoch e is a permutation of the dataset, seeded by (seed, e).

    Replaces MMEngine's `InfiniteSampler`. All ranks share one stream of indices: of W ranks, rank r takes the positions
    r, r + W, r + 2W, ... The attribute `start` (default 0) is the stream position at which iteration begins; the
    positions before it are not generated. The attribute `stop` (default None) is the position at which it ends, for
    training by epochs. It is rounded up, so that all ranks yield the same number of indices.

    Args:
        dataset: only its length is used.
        shuffle: False yields the indices of each epoch in order.
        seed: must be the same on every rank. None: drawn at random and synchronized across ranks.

    Raises:
        DataError: if the dataset is empty.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = None) -> None:
        self.rank, self.world_size = get_dist_info()
        self.size = len(dataset)
        if not self.size:
            raise DataError('the data set of a ResumableSampler is empty: bpkd check CONFIG says why')
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.start = 0
        self.stop: int | None = None

    def __iter__(self) -> Iterator[SampleIndex]:
        current_epoch = -1
        steps = itertools.count() if self.stop is None else range(math.ceil((self.stop - self.start) / self.world_size))
        for step in steps:
            position = self.start + self.rank + step * self.world_size
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
        """The number of indices of an epoch for each rank."""
        return math.ceil(self.size / self.world_size)
