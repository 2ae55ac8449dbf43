"""Resuming that continues the very run that was interrupted."""

import itertools
import random
from typing import Optional

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

    Random numbers of a step (dropout) are seeded here, those of augmentation by `SeedAugmentation`; the position in the
    data is kept in the checkpoint. A resumed run ends with the weights of an uninterrupted one, bit for bit on the CPU.
    With another number of processes it goes on where the data had got to. A validation that was due when the run ended
    is made up for.

    Raises:
        TypeError: before training, if the loop is not iteration-based or its sampler is no `ResumableSampler`.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.resumed_stream: Optional[dict] = None

    def before_run(self, runner: Runner) -> None:
        torch.manual_seed(runner.seed)  # initial weights do not depend on what was built beside the model
        if torch.are_deterministic_algorithms_enabled():
            # Some operators that segmentation needs have no deterministic form on a GPU: say so and go on.
            torch.use_deterministic_algorithms(True, warn_only=True)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self.resumed_stream = checkpoint.get('meta', {}).get('data_stream')

    def before_train(self, runner: Runner) -> None:
        loop = runner.train_loop
        if not isinstance(loop, IterBasedTrainLoop):
            raise TypeError(f'exact resuming needs an IterBasedTrainLoop, got {type(loop).__name__}')
        sampler = loop.dataloader.sampler
        if not isinstance(sampler, ResumableSampler):
            raise TypeError(
                'exact resuming needs train_dataloader.sampler=dict(type="ResumableSampler"), got '
                f'{type(sampler).__name__}'
            )
        self.first_iter = loop.iter
        self.samples_per_iter = loop.dataloader.batch_size * sampler.world_size
        if loop.iter > 0:
            stream = self.resumed_stream or dict(seed=runner.seed, position=loop.iter * self.samples_per_iter)
            sampler.seed, sampler.start = stream['seed'], stream['position']
            # The loop asks for one batch per past iteration, to throw them away: let these cost nothing.
            past = itertools.repeat(None, loop.iter)
            loop.dataloader_iterator = itertools.chain(past, _InfiniteDataloaderIterator(loop.dataloader))

    def before_train_epoch(self, runner: Runner) -> None:
        loop = runner.train_loop
        due = loop.iter % loop.val_interval == 0 or loop.iter == loop.max_iters
        if loop.iter >= max(1, loop.val_begin) and due and runner.val_loop is not None:
            if runner.message_hub.runtime_info.get('validated_iter') != loop.iter:
                runner.val_loop.run()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        seed = mix_seeds(runner.seed, runner.iter, runner.rank)
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        sampler = runner.train_dataloader.sampler
        steps = checkpoint['meta']['iter'] - self.first_iter
        checkpoint['meta']['data_stream'] = dict(
            seed=sampler.seed, position=sampler.start + steps * self.samples_per_iter
        )

    def after_val_epoch(self, runner: Runner, metrics: Optional[dict] = None) -> None:
        runner.message_hub.update_info('validated_iter', runner.iter)
