"""Resuming that continues the very run that was interrupted."""
import itertools
import random

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop, Runner
from mmengine.runner.loops import _InfiniteDataloaderIterator

from ..datasets.sampler import ResumableSampler, mix_seeds


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Makes every step a function of (seed, iteration, rank), the weights and the optimiser.

    Random numbers of a step (dropout) are seeded here, those of augmentation by `SeedAugmentation`. With both, a
    resumed run ends with the weights of an uninterrupted one, bit for bit on the CPU.

    Raises:
        TypeError: before training, if the loop is not iteration-based or its sampler is no `ResumableSampler`.
    """
    priority = 'VERY_HIGH'

    def before_run(self, runner: Runner) -> None:
        torch.manual_seed(runner.seed)  # initial weights do not depend on what was built beside the model

    def before_train(self, runner: Runner) -> None:
        loop = runner.train_loop
        if not isinstance(loop, IterBasedTrainLoop):
            raise TypeError(f'exact resuming needs an IterBasedTrainLoop, got {type(loop).__name__}')
        sampler = loop.dataloader.sampler
        if not isinstance(sampler, ResumableSampler):
            raise TypeError('exact resuming needs train_dataloader.sampler=dict(type="ResumableSampler"), got '
                            f'{type(sampler).__name__}')
        if loop.iter > 0:
            sampler.seed = runner.seed  # the checkpoint's: the sampler was built before it was read
            sampler.start = loop.iter * loop.dataloader.batch_size
            # The loop asks for one batch per past iteration, to throw them away: let these cost nothing.
            past = itertools.repeat(None, loop.iter)
            loop.dataloader_iterator = itertools.chain(past, _InfiniteDataloaderIterator(loop.dataloader))

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        seed = mix_seeds(runner.seed, runner.iter, runner.rank)
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
