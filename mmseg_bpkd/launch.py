"""What `tools/train.py` and `tools/test.py` do before a Runner exists: read the config, check it, find the devices."""

import argparse
import os
import os.path as osp
from typing import Iterator, Tuple
from unittest import mock

import torch
from mmengine.config import Config, DictAction
from mmengine.dist import init_dist, is_distributed
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.registry import MODEL_WRAPPERS
from mmengine.runner import Runner


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--work-dir', help='where logs and results go; default: work_dirs/<name of the config>')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        metavar='KEY=VALUE',
        help='changes to the config: model.distiller.losses.loss_bpkd.tau_edge=2',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by some launchers')


def load_config(args: argparse.Namespace) -> Config:
    """The config of the command line, with its options merged and a work directory."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if not osp.isfile(args.config):
        raise FileNotFoundError(f'no config {args.config}')
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options)
    cfg.launcher = args.launcher
    name = osp.splitext(osp.basename(args.config))[0]
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or osp.join('work_dirs', name)
    return cfg


def check_data_roots(cfg: Config, *dataloaders: str) -> None:
    """Raises: FileNotFoundError for the first folder that a data loader names and that is not there, or empty."""
    for name in dataloaders:
        for place, folder in _data_folders(cfg.get(name) or {}, name):
            if '://' not in folder and not (osp.isdir(folder) and os.listdir(folder)):
                state = 'an empty folder' if osp.isdir(folder) else 'not a folder'
                raise FileNotFoundError(
                    f'{place} is {folder!r}, which is {state}: docs/data.md says what belongs '
                    f'there; --cfg-options {name}.dataset.data_root=PATH names another place; '
                    'tools/check_dataset.py CONFIG checks the whole data set'
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
    """Lets a distributed run work without CUDA, where mmengine would touch `torch.cuda` and need SyncBN's kernels."""
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


def end_process_group() -> None:
    """Ends what a launcher began, when all processes are here: threads of gloo that outlive Python abort it."""
    if is_distributed():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def warn_of_another_batch_size(runner: Runner) -> None:
    """Warns if all processes together train on another number of images per step than the learning rate is for."""
    scaling = runner.cfg.get('auto_scale_lr') or {}
    recipe, batch_size = scaling.get('base_batch_size'), runner.cfg.train_dataloader.batch_size
    counts = runner.cfg.optim_wrapper.get('accumulative_counts', 1)
    total = runner.world_size * batch_size * counts
    if recipe in (None, total) or scaling.get('enable'):
        return
    accumulated = f' x {counts} steps' if counts > 1 else ''
    runner.logger.warning(
        f'the batch is {total} ({runner.world_size} processes x {batch_size} images{accumulated}), but the learning '
        f'rate is for {recipe}: set train_dataloader.batch_size, or let --auto-scale-lr scale the rate in proportion'
    )


@MODEL_WRAPPERS.register_module()
class CPUDistributedDataParallel(MMDistributedDataParallel):
    """DDP of a model on the CPU: no device ids, and BN where SyncBN has no implementation."""

    def __init__(self, module: torch.nn.Module, device_ids=None, **kwargs) -> None:
        super().__init__(module=revert_sync_batchnorm(module), **kwargs)
