"""The methods of `configs/_base_/distillers`, and a training of each that takes seconds."""

import os.path as osp
from glob import glob

import runs
from conftest import ROOT
from mmengine.config import Config
from mmengine.runner import Runner

FOLDER = osp.join(ROOT, 'configs/_base_/distillers')
PATHS = sorted(glob(f'{FOLDER}/*.py')) + sorted(glob(f'{FOLDER}/variants/*.py'))
DISTILLERS = {osp.basename(path)[:-3]: path for path in PATHS}


def config_of(method: str, folder, max_iters: int, more: str = '') -> str:
    """Writes a config for a tiny pair on synthetic scenes, with a checkpoint after every second iteration."""
    leaf = folder / 'leaf.py'
    pair = osp.join(ROOT, 'configs/_base_/pairs/pspnet-r18w16_pspnet-r18w8_synthetic.py')
    leaf.write_text(f'_base_ = [{pair!r}, {DISTILLERS[method]!r}]\nmodel = dict(distiller=_base_.distiller)\n')
    return runs.write_config(folder, max_iters, leaf, more)


def train(cfg: Config, name: str, resume_from: str | None = None) -> str:
    """Trains in this process, without weight decay, so that only parameters with a gradient change.

    Returns:
        The work directory.
    """
    cfg = cfg.copy()
    cfg.work_dir, cfg.experiment_name, cfg.log_level = osp.join(cfg.work_dir, name), name, 'ERROR'
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.default_hooks.checkpoint.max_keep_ckpts = 2
    cfg.optim_wrapper.optimizer.weight_decay = 0
    cfg.train_cfg.val_begin = 99
    if resume_from:
        cfg.resume, cfg.load_from = True, resume_from
    Runner.from_cfg(cfg).train()
    return cfg.work_dir
