"""Processes and devices: runs without CUDA, and the end of the process group."""

import gc
import os
import subprocess

import torch
from mmengine.config import Config
from mmengine.dist import is_distributed
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.registry import MODEL_WRAPPERS

from mmseg_bpkd.config.errors import RANKS

WORLD_SIZES = ('WORLD_SIZE', 'SLURM_NTASKS', 'OMPI_COMM_WORLD_SIZE')


def use_available_devices(cfg: Config) -> None:
    """Prepares a distributed run on a machine without CUDA; otherwise changes nothing.

    MMEngine connects the processes unless they are connected already, and calls `torch.cuda.set_device` for that.
    SyncBN has no CPU implementation.

    Raises:
        ValueError: if the launcher has not set its variables.
    """
    if cfg.launcher != 'none' and RANKS[cfg.launcher] not in os.environ:
        raise ValueError(
            f'--launcher {cfg.launcher}: the variable {RANKS[cfg.launcher]}, which this launcher sets, is missing. '
            'Start several processes with tools/dist_train.sh or tools/slurm_train.sh, one process without --launcher'
        )
    if cfg.launcher == 'none' or torch.cuda.is_available():
        return
    if not is_distributed():
        _connect_with_gloo(cfg.launcher)
    if cfg.get('model_wrapper_cfg') is None:
        cfg.model_wrapper_cfg = dict(
            type='CPUDistributedDataParallel',
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        )


def _connect_with_gloo(launcher: str) -> None:
    if launcher == 'slurm' and 'MASTER_ADDR' not in os.environ:
        hosts = subprocess.check_output(['scontrol', 'show', 'hostname', os.environ['SLURM_NODELIST']], text=True)
        os.environ['MASTER_ADDR'] = hosts.split()[0]
    os.environ.setdefault('MASTER_PORT', '29500')
    rank = int(os.environ[RANKS[launcher]])
    torch.distributed.init_process_group('gloo', rank=rank, world_size=world_size(launcher))


def world_size(launcher: str) -> int:
    """The number of processes, before they are connected."""
    return 1 if launcher == 'none' else max(int(os.environ.get(name, 1)) for name in WORLD_SIZES)


def rank(launcher: str) -> int:
    """The number of this process, before the processes are connected."""
    return 0 if launcher == 'none' else int(os.environ.get(RANKS[launcher], 0))


def end_process_group() -> None:
    """Waits for all processes, then destroys the process group. Does nothing in a run with one process.

    Otherwise gloo's threads may outlive the interpreter and abort the process.
    """
    if is_distributed():
        gc.collect()  # a Runner that is no longer used holds the group in a reference cycle
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


@MODEL_WRAPPERS.register_module()
class CPUDistributedDataParallel(MMDistributedDataParallel):
    """DDP on the CPU: without device ids, and with BN in place of SyncBN, which has no CPU implementation."""

    def __init__(self, module: torch.nn.Module, device_ids=None, **kwargs) -> None:
        super().__init__(module=revert_sync_batchnorm(module), **kwargs)
