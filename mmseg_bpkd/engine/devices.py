"""Processes and devices: runs without CUDA, and the end of the process group."""

import gc
import os
from unittest import mock

import torch
from mmengine.config import Config
from mmengine.dist import init_dist, is_distributed
from mmengine.model import MMDistributedDataParallel, revert_sync_batchnorm
from mmengine.registry import MODEL_WRAPPERS

WORLD_SIZES = ('WORLD_SIZE', 'SLURM_NTASKS', 'OMPI_COMM_WORLD_SIZE')


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
