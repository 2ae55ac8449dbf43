"""Steps of `tools/train.py` and `tools/test.py` around the Runner: options, config, checks, devices, processes."""

import argparse
import errno
import gc
import logging
import os
import os.path as osp
import sys
import time
import traceback
from contextlib import contextmanager
from typing import Iterator, Optional, Tuple
from unittest import mock

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import init_dist, is_distributed
from mmengine.logging import print_log
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.optim import AmpOptimWrapper
from mmengine.registry import MODEL_WRAPPERS
from mmengine.runner import Runner
from torch.nn.modules.batchnorm import _BatchNorm

from .cfg_options import add_cfg_options, merge_options
from .checkpoint import last_checkpoint
from .files import load_config_file
from .hooks.save_on_signal import StoppedBySignal
from .methods import replace_method
from .segmentors import start_from_scratch
from .signatures import explain_build_error

ALWAYS_ON = ('LossPartsHook', 'StopOnNaNHook', 'SaveOnSignalHook')
RANKS = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')  # of torchrun, Slurm and MPI
WORLD_SIZES = ('WORLD_SIZE', 'SLURM_NTASKS', 'OMPI_COMM_WORLD_SIZE')
LOCAL_BACKEND = [dict(type='LocalVisBackend')]  # of configs/_base_/default_runtime.py


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that change the config."""
    parser.add_argument(
        '--method',
        metavar='NAME',
        help='replaces the distiller of the config by configs/_base_/distillers/NAME.py, or by the file NAME',
    )
    add_cfg_options(parser, 'changes to the config, for example model.distiller.losses.loss_bpkd.tau_edge=2')


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that training and testing share."""
    parser.add_argument('--work-dir', help='folder for logs and results; default: work_dirs/<name of the config>')
    add_config_arguments(parser)
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by some launchers')


def read_config(path: str, options: dict, method: Optional[str] = None) -> Config:
    """Returns a config with the options of `add_config_arguments` applied. They apply to the distiller of `method`.

    Raises:
        FileNotFoundError: if there is no such config.
        ValueError: for an unknown method, or an option that would have no effect.
    """
    cfg = load_config_file(path)
    if method is not None:
        cfg = replace_method(cfg, method)
    merge_options(cfg, options)
    _share_vis_backends(cfg)
    return cfg


def load_config(args: argparse.Namespace) -> Config:
    """Returns the config that the command line names, with its options merged and `work_dir` set.

    Args:
        args: `config`, and the options of `add_common_arguments`.

    Raises:
        FileNotFoundError, ValueError: see `read_config`.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config, args.cfg_options, args.method)
    cfg.launcher = args.launcher
    name = osp.splitext(osp.basename(cfg.filename))[0]
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or osp.join('work_dirs', name)
    return cfg


def _share_vis_backends(cfg: Config) -> None:
    """Gives `vis_backends` of the top level to the visualizer, which has its own copy of the list.

    Raises:
        ValueError: if both were changed, to different lists.
    """
    shared, visualizer = cfg.get('vis_backends'), cfg.get('visualizer')
    if shared and visualizer and shared != visualizer.get('vis_backends'):
        if visualizer.get('vis_backends', LOCAL_BACKEND) == LOCAL_BACKEND:
            visualizer.vis_backends = shared
        elif shared != LOCAL_BACKEND:
            raise ValueError('vis_backends and visualizer.vis_backends are different lists: set one of them')


def apply_training_options(cfg: Config, args: argparse.Namespace) -> None:
    """Applies the options of `tools/train.py` to a config, in place.

    Args:
        args: `seed`, `deterministic`, `amp`, `auto_scale_lr`, `from_scratch` and `resume`.

    Raises:
        FileNotFoundError: if the checkpoint of `--resume` does not exist.
        ValueError: if `--auto-scale-lr` is given and the config has no base batch size, or if a CPU is to train in
            float16.
    """
    cfg.setdefault('randomness', dict(seed=0))
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


@contextmanager
def short_errors(cfg: Optional[Config] = None, *kinds: type) -> Iterator[None]:
    """Ends the program with one line, without a traceback, for errors in the command line and the config.

    All processes of a run have these errors, so only the first one prints.

    Args:
        cfg: explains errors that MMEngine raises while it builds a part of this config.
        kinds: exceptions whose message is such a line.
    """
    try:
        yield
    except Exception as error:
        line = str(error) if isinstance(error, kinds) else cfg and explain_build_error(error, cfg)
        if not line:
            raise
        if any(int(os.environ.get(name, 0)) for name in RANKS):
            time.sleep(10)  # the launcher ends this process when the first one ends; do not end before it
            sys.exit(1)
        if 'MMSEG_BPKD_ERROR_FILE' in os.environ:  # of tools/dist_train.sh, which prints it last
            with open(os.environ['MMSEG_BPKD_ERROR_FILE'], 'w') as file:
                file.write(f'error: {line}\n')
        sys.exit(f'error: {line}')


def check_data_roots(cfg: Config, *dataloaders: str) -> None:
    """Checks that the data folders of the named data loaders exist.

    Raises:
        FileNotFoundError: for the first folder that is missing or empty.
    """
    for name in dataloaders:
        for place, folder in _data_folders(cfg.get(name) or {}, name):
            if '://' not in folder and not (osp.isdir(folder) and os.listdir(folder)):
                state = 'an empty folder' if osp.isdir(folder) else 'not a folder'
                raise FileNotFoundError(
                    f'{place} is {folder!r}, which is {state}: prepare the data as docs/data.md describes, or set '
                    f'its folder with --cfg-options {name}.dataset.data_root=PATH. '
                    'bpkd check CONFIG checks the whole data set'
                )


def _data_folders(node, place: str) -> Iterator[Tuple[str, str]]:
    if isinstance(node, dict):
        root = node.get('data_root')
        if root:
            yield f'{place}.data_root', root
            for part, folder in node.get('data_prefix', {}).items():
                yield f'{place}.data_prefix.{part}', osp.join(root, folder)
        for key, child in node.items():
            yield from _data_folders(child, f'{place}.{key}')
    elif isinstance(node, (list, tuple)):
        for i, child in enumerate(node):
            yield from _data_folders(child, f'{place}.{i}')


def use_available_devices(cfg: Config) -> None:
    """Prepares a distributed run on a machine without CUDA; otherwise does nothing.

    MMEngine would call `torch.cuda.set_device`, and SyncBN has no CPU implementation.
    """
    if cfg.launcher == 'none' or torch.cuda.is_available():
        return
    if not is_distributed():
        with mock.patch.object(torch.cuda, 'set_device'):  # init_dist calls it whatever the backend
            init_dist(cfg.launcher, backend='gloo')
    if cfg.get('model_wrapper_cfg') is None:
        cfg.model_wrapper_cfg = dict(
            type='CPUDistributedDataParallel',
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        )


def world_size(launcher: str) -> int:
    """The number of processes, before they are connected."""
    return 1 if launcher == 'none' else max(int(os.environ.get(name, 1)) for name in WORLD_SIZES)


def add_safety_hooks(cfg: Config) -> None:
    """Adds the hooks that every training has: see `LossPartsHook`, `StopOnNaNHook` and `SaveOnSignalHook`.

    Warns if a config has lost the `ExactResumeHook` by replacing the list: MMEngine merges dicts, but not lists.
    """
    given = cfg.get('custom_hooks') or []
    types = [hook['type'] if isinstance(hook, dict) else type(hook) for hook in given]
    names = [getattr(hook, '__name__', hook) for hook in types]
    cfg.custom_hooks = [*given, *(dict(type=name) for name in ALWAYS_ON if name not in names)]
    sampler = (cfg.get('train_dataloader') or {}).get('sampler') or {}
    if sampler.get('type') == 'ResumableSampler' and 'ExactResumeHook' not in names:
        print_log(
            'custom_hooks has no ExactResumeHook, so that a resumed run will not continue exactly. To add hooks to '
            'those of a base config, write custom_hooks = [*_base_.custom_hooks, ...]',
            'current',
            logging.WARNING,
        )


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


def _failing_batch_norm(error: ValueError, model: torch.nn.Module) -> Optional[str]:
    """Returns the name of the batch norm whose forward pass raised the error."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    norms = [frame.f_locals['self'] for frame in frames if isinstance(frame.f_locals.get('self'), _BatchNorm)]
    return next((name for name, module in model.named_modules() if norms and module is norms[-1]), None)


def end_process_group() -> None:
    """Waits for all processes, then destroys the process group. Does nothing in a run with one process.

    Otherwise gloo's threads may outlive the interpreter and abort the process.
    """
    if is_distributed():
        gc.collect()  # a Runner that is no longer used holds the group in a reference cycle
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


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


@MODEL_WRAPPERS.register_module()
class CPUDistributedDataParallel(MMDistributedDataParallel):
    """DDP on the CPU: without device ids, and with BN in place of SyncBN, which has no CPU implementation."""

    def __init__(self, module: torch.nn.Module, device_ids=None, **kwargs) -> None:
        super().__init__(module=revert_sync_batchnorm(module), **kwargs)
