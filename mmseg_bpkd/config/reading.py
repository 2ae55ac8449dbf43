"""Reads the config that a command line names, with its options."""

import argparse
import os
import os.path as osp
from collections.abc import Sequence

from mmengine.config import Config

from mmseg_bpkd.fileio.package_files import load_config_file
from mmseg_bpkd.fileio.work_dir import check_name

from .ignore_index import share_ignore_index
from .methods import replace_method
from .options import merge_options

LOCAL_BACKEND = [dict(type='LocalVisBackend')]  # of configs/_base_/default_runtime.py


def read_config(path: str, options: dict, method: str | None = None, merge: Sequence[str] = ()) -> Config:
    """Returns a config with `--method` and `--cfg-options` applied. The options apply to the distiller of `method`.

    Args:
        merge: paths of configs that are merged over it first, in this order.

    Raises:
        FileNotFoundError: if there is no such config.
        ValueError: for an unknown method, an option that would have no effect, or two labels of void pixels.
    """
    cfg = load_config_file(path)
    for other in merge:
        cfg.merge_from_dict(load_config_file(other).to_dict())
    if method is not None:
        cfg = replace_method(cfg, method)
    merge_options(cfg, options)
    _share_vis_backends(cfg)
    share_ignore_index(cfg)
    return cfg


def load_config(args: argparse.Namespace) -> Config:
    """Returns the config that the command line names, with its options merged and `work_dir` set.

    Args:
        args: `config`, and the options of `cli.arguments.add_common_arguments`.

    Raises:
        FileNotFoundError, ValueError: see `read_config`.
        ValueError: also if the path of the work directory is not UTF-8.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config, args.cfg_options, args.method)
    cfg.launcher = args.launcher
    name = osp.splitext(osp.basename(cfg.filename))[0]
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or osp.join('work_dirs', name)
    check_name(cfg.work_dir)
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
