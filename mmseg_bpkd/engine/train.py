"""What `bpkd train` does around the Runner: options, checks, advice for errors."""

import argparse
import errno
import os.path as osp
import traceback

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.optim import AmpOptimWrapper
from mmengine.runner import Runner
from torch.nn.modules.batchnorm import _BatchNorm

from mmseg_bpkd.datasets.check import sample_problems
from mmseg_bpkd.fileio.checkpoint import last_checkpoint
from mmseg_bpkd.models.losses.base import contract_of
from mmseg_bpkd.models.roles import start_from_scratch

from .devices import end_process_group
from .hooks import ClipLossGradHook, ExactResumeHook, SaveOnSignalHook, StopOnNaNHook
from .hooks.save_on_signal import StoppedBySignal

USUAL_HOOKS = (ExactResumeHook, ClipLossGradHook, StopOnNaNHook, SaveOnSignalHook)  # of default_runtime.py


def apply_training_options(cfg: Config, args: argparse.Namespace) -> None:
    """Applies the options of `tools/train.py` to a config, in place.

    Args:
        args: `seed`, `deterministic`, `amp`, `auto_scale_lr`, `from_scratch` and `resume`.

    Raises:
        FileNotFoundError: if the checkpoint of `--resume` does not exist.
        ValueError: if `--auto-scale-lr` is given and the config has no base batch size, or if a CPU is to train in
            float16.
    """
    cfg.setdefault('randomness', dict(seed=None))
    if args.seed is not None:
        cfg.randomness.seed = args.seed
    if args.deterministic:
        cfg.randomness.deterministic = True
    if args.amp:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if cfg.optim_wrapper.get('type') in ('AmpOptimWrapper', AmpOptimWrapper) and get_device() == 'cpu':
        _use_bfloat16_on_cpu(cfg)
    if args.from_scratch:
        start_from_scratch(cfg.model)
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise ValueError(
                '--auto-scale-lr: the config has no auto_scale_lr.base_batch_size. Set it to the total batch size '
                'that the learning rate was chosen for'
            )
        cfg.auto_scale_lr.enable = True
        # MMEngine's scaling ignores gradient accumulation.
        cfg.auto_scale_lr.base_batch_size /= cfg.optim_wrapper.get('accumulative_counts', 1)
    if args.resume == 'auto':
        last = last_checkpoint(cfg.work_dir)
        if last:  # otherwise this is the first start, and the config's own load_from stays
            cfg.resume, cfg.load_from = True, last
    elif args.resume:
        if not osp.isfile(args.resume):
            raise FileNotFoundError(f'--resume: no checkpoint {args.resume}. Give the path of a .pth file, or "auto"')
        cfg.resume, cfg.load_from = True, args.resume


def _use_bfloat16_on_cpu(cfg: Config) -> None:
    dtype = cfg.optim_wrapper.pop('dtype', None) or 'bfloat16'
    if dtype not in ('bfloat16', torch.bfloat16):
        raise ValueError(
            f'optim_wrapper.dtype is {dtype}, but a CPU trains in bfloat16 only: float16 needs a scaled loss, which '
            'MMEngine has only on a GPU. Set optim_wrapper.dtype=bfloat16, or train without --amp'
        )
    cfg.optim_wrapper.pop('loss_scale', None)
    cfg.optim_wrapper.type = 'CPUAmpOptimWrapper'


def check_hooks(runner: Runner) -> None:
    """Warns if a run lacks hooks of `configs/_base_/default_runtime.py`.

    A config that sets `custom_hooks` replaces the list, since MMEngine merges dicts, but not lists. `ExactResumeHook`
    is expected together with its `ResumableSampler` only.

    Raises:
        ValueError: if a loss has a `max_grad_norm` or `optim_options`, and there is no `ClipLossGradHook`.
    """
    missing = [kind.__name__ for kind in USUAL_HOOKS if not any(isinstance(hook, kind) for hook in runner.hooks)]
    sampler = (runner.cfg.get('train_dataloader') or {}).get('sampler') or {}
    if 'ExactResumeHook' in missing and sampler.get('type') != 'ResumableSampler':
        missing.remove('ExactResumeHook')
    if not missing:
        return
    said = (
        f'custom_hooks has no {", ".join(missing)}. To add hooks to those of a base config, write custom_hooks = '
        '[*_base_.custom_hooks, ...]'
    )
    distiller = getattr(getattr(runner.model, 'module', runner.model), 'distiller', None)
    for name, loss in getattr(distiller, 'distill_losses', {}).items():
        if 'ClipLossGradHook' in missing and (contract_of(loss).max_grad_norm or contract_of(loss).optim_options):
            raise ValueError(f'{name} has a max_grad_norm or optim_options, which need the ClipLossGradHook: {said}')
    runner.logger.warning(said)


def train(runner: Runner) -> None:
    """Trains, and says what to do about errors whose own text does not.

    Raises:
        StoppedBySignal: if a signal ended the training.
        OSError: if the disk is full.
        ValueError: if a batch norm gets one value per channel.
    """
    try:
        runner.train()
    except StoppedBySignal:
        end_process_group()
        raise
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(
            error.errno,
            f'the disk is full: cannot write {error.filename or f"into {runner.work_dir}"}. Free space, or copy '
            f'{runner.work_dir} to another disk and name it with --work-dir. Then continue with --resume',
        ) from error
    except ValueError as error:
        if 'more than 1 value per channel' not in str(error):
            raise
        raise ValueError(
            f'the batch norm {_failing_batch_norm(error, runner.model)} gets one value per channel, from a batch of '
            f'one image that was pooled to 1x1: {error}. Set train_dataloader.batch_size to 2 or more, or set norm_cfg '
            "of this part of the model to another norm, such as dict(type='GN', num_groups=8)"
        ) from error
    end_process_group()


def _failing_batch_norm(error: ValueError, model: torch.nn.Module) -> str | None:
    """Returns the name of the batch norm whose forward pass raised the error."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    norms = [frame.f_locals['self'] for frame in frames if isinstance(frame.f_locals.get('self'), _BatchNorm)]
    return next((name for name, module in model.named_modules() if norms and module is norms[-1]), None)


def warn_of_another_batch_size(runner: Runner) -> None:
    """Warns if the total batch size differs from the one that the learning rate was chosen for.

    The total counts all processes and accumulated steps. There is no warning if the rate is scaled automatically.
    """
    scaling = runner.cfg.get('auto_scale_lr') or {}
    recipe, batch_size = scaling.get('base_batch_size'), runner.cfg.train_dataloader.batch_size
    counts = runner.cfg.optim_wrapper.get('accumulative_counts', 1)
    total = runner.world_size * batch_size * counts
    if recipe in (None, total) or scaling.get('enable'):
        return
    accumulated = f' x {counts} steps' if counts > 1 else ''
    runner.logger.warning(
        f'the batch is {total} ({runner.world_size} processes x {batch_size} images{accumulated}), but the learning '
        f'rate is for {recipe}: set train_dataloader.batch_size, or use --auto-scale-lr to scale the learning rate'
    )


def warn_of_data(runner: Runner) -> None:
    """Logs what `bpkd check` says about a few images and labels of the training set."""
    for problem in sample_problems(runner.cfg) if is_main_process() else ():
        runner.logger.warning(f'{problem}. bpkd check CONFIG reads all files')
