"""Exact resuming: a resumed run gives the same result as an uninterrupted run."""

import random

import numpy as np
import torch
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from mmengine.runner.loops import _InfiniteDataloaderIterator
from torch.utils.data import DataLoader

from mmseg_bpkd.datasets.sampler import ResumableSampler, mix_seeds
from mmseg_bpkd.engine.resume_checks import check_resumed, warn_of_overridden_settings


class _ResumedIterator(_InfiniteDataloaderIterator):
    """Gives MMEngine's loop None for each of the past iterations, which it fetches and discards.

    OneDL's loop calls `skip_iter` instead. Nothing is to be skipped, since the sampler starts after them.
    """

    def __init__(self, dataloader: DataLoader, past: int) -> None:
        super().__init__(dataloader)
        self.past = past

    def __next__(self):
        if self.past > 0:
            self.past -= 1
            return None
        return super().__next__()

    def skip_iter(self, num_iters: int) -> None:
        self.past -= num_iters


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Makes a resumed run continue exactly as if it had not been interrupted.

    * Before each step, Python, NumPy and PyTorch are seeded from (seed, iteration, rank). `SeedAugmentation` seeds the
      augmentation.
    * The checkpoint stores the position in the data. A resumed run continues there at once, without loading past
      batches, even with another number of processes.
    * If the run ended before a validation that was due, the validation runs first.
    * A warning lists what the checkpoint overrides in the config.

    With the same number of processes, a resumed run on the CPU ends with bit-identical weights. With accumulated
    gradients, this needs checkpoints at multiples of `accumulative_counts`; otherwise it warns.

    The training may be by iterations or by epochs. An epoch that was interrupted continues where it was.

    Raises:
        ValueError: if the checkpoint to resume from lacks parts, does not fit the config, or holds NaN.
        TypeError: before training, if the training loop is neither an `IterBasedTrainLoop` nor an
            `EpochBasedTrainLoop`, or its sampler is not a `ResumableSampler`.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.resumed_stream: dict | None = None

    def before_run(self, runner: Runner) -> None:
        torch.manual_seed(runner.seed)  # the initial weights must not depend on the random numbers used so far
        if torch.are_deterministic_algorithms_enabled():
            # Segmentation needs some operators that have no deterministic version on a GPU. Warn instead of failing.
            torch.use_deterministic_algorithms(True, warn_only=True)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if getattr(runner, '_resume', False):
            source = runner._load_from or runner.work_dir
            check_resumed(runner, checkpoint, source)
            warn_of_overridden_settings(runner, checkpoint, source)
        self.resumed_stream = checkpoint.get('meta', {}).get('data_stream')

    def before_train(self, runner: Runner) -> None:
        loop = runner.train_loop
        if not isinstance(loop, (IterBasedTrainLoop, EpochBasedTrainLoop)):
            raise TypeError(
                f'ExactResumeHook needs an IterBasedTrainLoop or an EpochBasedTrainLoop, got {type(loop).__name__}: '
                'set train_cfg.type, or remove the hook and set the sampler that the loop needs'
            )
        self._warn_of_checkpoints_between_updates(runner)
        sampler = loop.dataloader.sampler
        if not isinstance(sampler, ResumableSampler):
            raise TypeError(
                f'ExactResumeHook needs a ResumableSampler, got {type(sampler).__name__}: set '
                'train_dataloader.sampler=dict(type="ResumableSampler"), or remove the hook'
            )
        self.by_epoch = isinstance(loop, EpochBasedTrainLoop)
        self.first_iter = loop.iter
        self.samples_per_iter = loop.dataloader.batch_size * sampler.world_size
        if loop.iter > 0:
            past = loop.epoch * sampler.size if self.by_epoch else loop.iter * self.samples_per_iter
            stream = self.resumed_stream or dict(seed=runner.seed, position=past)
            sampler.seed, sampler.start = stream['seed'], stream['position']
            if not self.by_epoch:
                loop.dataloader_iterator = _ResumedIterator(loop.dataloader, past=loop.iter)

    def _warn_of_checkpoints_between_updates(self, runner: Runner) -> None:
        counts = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        for hook in runner.hooks:
            if not isinstance(hook, CheckpointHook):
                continue
            interval = hook.interval * (len(runner.train_dataloader) if hook.by_epoch else 1)
            if interval > 0 and interval % counts:
                runner.logger.warning(
                    f'a checkpoint is saved every {interval} iterations, but {counts} iterations are one update '
                    '(accumulative_counts): resuming between two updates loses gradients and is not exact. Set '
                    f'default_hooks.checkpoint.interval to a multiple of {counts}'
                )

    def before_train_epoch(self, runner: Runner) -> None:
        # An IterBasedTrainLoop calls this once, after resuming and before its first step.
        if not self.by_epoch:
            self._validate_if_due(runner)
            return
        loop, sampler = runner.train_loop, runner.train_dataloader.sampler
        begin = loop.epoch * sampler.size
        if sampler.start <= begin:  # otherwise the epoch was interrupted
            self._validate_if_due(runner)
        self.first_iter = loop.iter
        sampler.start, sampler.stop = max(sampler.start, begin), begin + sampler.size

    def after_train(self, runner: Runner) -> None:
        if self.by_epoch:  # a run that was interrupted by the last validation has no epoch left
            self._validate_if_due(runner)

    def _validate_if_due(self, runner: Runner) -> None:
        loop = runner.train_loop
        done, last = (loop.epoch, loop.max_epochs) if self.by_epoch else (loop.iter, loop.max_iters)
        due = (done % loop.val_interval == 0 or done == last) and done >= max(1, loop.val_begin)
        if due and runner.val_loop is not None and runner.message_hub.runtime_info.get('validated_iter') != loop.iter:
            runner.val_loop.run()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        seed = mix_seeds(runner.seed, runner.iter, runner.rank)
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        sampler = runner.train_dataloader.sampler
        position = sampler.start + (checkpoint['meta']['iter'] - self.first_iter) * self.samples_per_iter
        if self.by_epoch:
            position = min(position, sampler.stop)  # the last batch of an epoch may be smaller
        checkpoint['meta']['data_stream'] = dict(
            seed=sampler.seed, position=position, samples_per_iter=self.samples_per_iter
        )

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        runner.message_hub.update_info('validated_iter', runner.iter)
