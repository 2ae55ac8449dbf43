"""What `bpkd train` does around the Runner: options, checks, advice for errors."""

import argparse
import errno
import os.path as osp
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.optim import AmpOptimWrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.nn import LayerNorm
from torch.nn.modules.batchnorm import _BatchNorm

from mmseg_bpkd.datasets.check import sample_problems
from mmseg_bpkd.fileio.work_dir import LAST, last_checkpoint, only_process
from mmseg_bpkd.models.losses.base import contract_of
from mmseg_bpkd.models.roles import start_from_scratch

from .devices import end_process_group, rank
from .hooks import ClipLossGradHook, ExactResumeHook, SaveOnSignalHook, StopOnNaNHook
from .hooks.save_on_signal import StoppedBySignal

USUAL_HOOKS = (ExactResumeHook, ClipLossGradHook, StopOnNaNHook, SaveOnSignalHook)  # of default_runtime.py


def apply_training_options(cfg: Config, args: argparse.Namespace) -> None:
    """Applies the options of `tools/train.py` to a config, in place.

    Args:
        args: `seed`, `deterministic`, `amp`, `auto_scale_lr`, `from_scratch` and `resume`.

    Raises:
        FileNotFoundError: if the checkpoint of `--resume` does not exist.
        ValueError: if the training would have no iteration, if `--auto-scale-lr` is given and the config has no base
            batch size, or if a CPU is to train in float16.
    """
    _check_length(cfg)
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
    if args.resume == 'auto' or (not args.resume and cfg.get('resume') and not cfg.get('load_from')):
        resume_last(cfg)
    elif args.resume:
        if not osp.isfile(args.resume):
            raise FileNotFoundError(f'--resume: no checkpoint {args.resume}. Give the path of a .pth file, or "auto"')
        cfg.resume, cfg.load_from = True, args.resume


def _check_length(cfg: Config) -> None:
    for key in ('max_iters', 'max_epochs', 'val_interval'):
        value = (cfg.get('train_cfg') or {}).get(key)
        if value is not None and not (isinstance(value, (int, float)) and value >= 1 and value == int(value)):
            raise ValueError(f'train_cfg.{key} is {value!r}, expected a whole number that is at least 1')


def resume_last(cfg: Config) -> None:
    """Lets a config resume from the last checkpoint of its work directory; from none if it is the first start.

    Raises:
        FileNotFoundError: if the work directory names a checkpoint, and there is none.
    """
    out_dir = checkpoint_folder(cfg)
    last = last_checkpoint(cfg.work_dir, out_dir)
    stored = osp.join(cfg.work_dir, LAST)
    if not (last and ('://' in last or osp.isfile(last))) and osp.lexists(stored):
        raise FileNotFoundError(
            f'--resume: {stored} names no checkpoint, and {out_dir} has no iter_*.pth: give the path of a checkpoint '
            f'to --resume, or remove {LAST} to start anew'
        )
    cfg.resume = last is not None
    if last:  # otherwise the config's own load_from stays
        cfg.load_from = last


def checkpoint_folder(cfg: Config) -> str:
    """The folder that MMEngine's `CheckpointHook` writes to."""
    out_dir = ((cfg.get('default_hooks') or {}).get('checkpoint') or {}).get('out_dir')
    if out_dir in (None, cfg.work_dir):
        return cfg.work_dir
    return osp.join(out_dir, osp.basename(osp.abspath(cfg.work_dir)))


@contextmanager
def locked_folders(cfg: Config) -> Iterator[None]:
    """Keeps other trainings out of the work directory and of the folder of the checkpoints.

    The first process holds the locks for all processes of a run.

    Raises:
        WorkDirInUse: if another training writes there.
    """
    with ExitStack() as locks:
        if rank(cfg.launcher) == 0:
            folders = [folder for folder in (cfg.work_dir, checkpoint_folder(cfg)) if '://' not in folder]
            for folder in sorted({osp.realpath(folder) for folder in folders}):
                locks.enter_context(only_process(folder))
        yield


def _use_bfloat16_on_cpu(cfg: Config) -> None:
    dtype = cfg.optim_wrapper.pop('dtype', None) or 'bfloat16'
    if dtype not in ('bfloat16', torch.bfloat16):
        raise ValueError(
            f'optim_wrapper.dtype is {dtype}, but a CPU trains in bfloat16 only: float16 needs a scaled loss, which '
            'MMEngine has only on a GPU. Set optim_wrapper.dtype=bfloat16, or train without --amp'
        )
    cfg.optim_wrapper.pop('loss_scale', None)
    cfg.optim_wrapper.type = 'CPUAmpOptimWrapper'


def check_settings(runner: Runner) -> None:
    """Checks the settings of a run before its training.

    Raises:
        ValueError: see `check_hooks`. Other problems are warnings.
    """
    check_hooks(runner)
    warn_of_another_batch_size(runner)
    warn_of_another_length(runner)
    warn_of_sgd_for_transformers(runner)
    warn_of_data(runner)


def check_hooks(runner: Runner) -> None:
    """Warns if a run lacks hooks of `configs/_base_/default_runtime.py`.

    A config that sets `custom_hooks` replaces the list, since MMEngine merges dicts, but not lists. `ExactResumeHook`
    is expected together with its `ResumableSampler` only.

    Raises:
        ValueError: if a loss has a `max_grad_norm` or `optim_options`, and there is no `ClipLossGradHook`; if an epoch
            of a training by epochs would not end.
    """
    missing = [kind.__name__ for kind in USUAL_HOOKS if not any(isinstance(hook, kind) for hook in runner.hooks)]
    sampler = (runner.cfg.get('train_dataloader') or {}).get('sampler') or {}
    endless = ['InfiniteSampler', *(['ResumableSampler'] if 'ExactResumeHook' in missing else [])]
    if _is_by_epoch(runner.cfg) and sampler.get('type') in endless:
        raise ValueError(
            f'the training is by epochs, but {sampler["type"]} never ends an epoch: use the ResumableSampler with the '
            "ExactResumeHook, or set train_dataloader.sampler=dict(type='DefaultSampler', shuffle=True)"
        )
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
            f'one image that was pooled to 1x1: {error}. Set train_dataloader.batch_size to 2 or more, and by epochs '
            'train_dataloader.drop_last=True, or set norm_cfg of this part of the model to another norm, such as '
            "dict(type='GN', num_groups=8)"
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


def _is_by_epoch(cfg: Config) -> bool:
    loop = cfg.get('train_cfg') or {}
    return bool(loop.get('by_epoch')) or loop.get('type') in ('EpochBasedTrainLoop', EpochBasedTrainLoop)


def warn_of_another_length(runner: Runner) -> None:
    """Warns if the schedule of the learning rate does not end with the training, as after a change of max_iters alone.

    Only the last scheduler is compared.
    """
    schedulers = runner.cfg.get('param_scheduler')
    place = 'param_scheduler'
    if isinstance(schedulers, (list, tuple)) and schedulers:
        place, schedulers = f'{place}.{len(schedulers) - 1}', schedulers[-1]
    if not schedulers or 'type' not in schedulers or schedulers.get('convert_to_iter_based'):
        return
    loop, counts_epochs = runner.cfg.train_cfg, schedulers.get('by_epoch', True)
    if not _is_by_epoch(runner.cfg):
        length = loop.max_iters
    else:
        length = loop.max_epochs if counts_epochs else runner.train_loop.max_iters
    if counts_epochs and not _is_by_epoch(runner.cfg):
        runner.logger.warning(
            f'{place} counts epochs, but the training counts iterations, so that the learning rate stays as it is: set '
            f'{place}.by_epoch=False, and its begin, end and milestones in iterations'
        )
    elif schedulers.get('end', length) != length:
        begin, unit = schedulers.get('begin', 0), 'epochs' if counts_epochs else 'iterations'
        earlier = f', and let it begin earlier: {place}.begin is {begin}' if begin >= length else ''
        runner.logger.warning(
            f'the schedule of the learning rate ends at {schedulers.end}, but the training at {length} {unit}: to let '
            f'the schedule follow, add --cfg-options {place}.end={length}{earlier}'
        )


def warn_of_sgd_for_transformers(runner: Runner) -> None:
    """Warns if a network whose backbone has layer norm, as transformers have, is trained with SGD."""
    model = getattr(runner.model, 'module', runner.model)
    backbone = getattr(getattr(model, 'student', model), 'backbone', None)
    optimizer = runner.cfg.optim_wrapper.get('optimizer') or {}
    if backbone is None or optimizer.get('type') != 'SGD':
        return
    if any(isinstance(layer, LayerNorm) for layer in backbone.modules()):
        runner.logger.warning(
            f'the backbone {type(backbone).__name__} is a transformer or the like, but the optimizer is SGD with '
            f'lr={optimizer.get("lr")}, which is for convolutional networks. Transformers are trained with AdamW: in '
            '_base_, replace the schedule by ../schedules/80k_adamw.py, or write optim_wrapper = dict(optimizer='
            "dict(_delete_=True, type='AdamW', lr=6e-5, weight_decay=0.01))"
        )
