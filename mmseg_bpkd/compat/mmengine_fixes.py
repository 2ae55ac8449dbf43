"""Faults of MMEngine."""

import functools
import os.path as osp
from types import ModuleType

from .requirements import ONEDL, has_distribution
from .table import Fix

PACKAGE = __name__.split('.')[0]


def looks_for_openmmlab(utils: ModuleType) -> bool:
    return has_distribution(ONEDL['mmseg']) and utils.MODULE2PACKAGE['mmseg'] != ONEDL['mmseg']


def look_for_onedl(utils: ModuleType) -> None:
    utils.MODULE2PACKAGE['mmseg'] = ONEDL['mmseg']


def is_unknown(_: ModuleType) -> bool:
    from mmengine.config.utils import MODULE2PACKAGE

    return PACKAGE not in MODULE2PACKAGE


def register_configs(config: ModuleType) -> None:
    from mmengine.config.utils import MODULE2PACKAGE

    MODULE2PACKAGE[PACKAGE] = PACKAGE  # for mmengine.hub
    original = config.Config._get_cfg_path

    def get_cfg_path(cfg_path: str, filename: str):
        from mmseg_bpkd.fileio.package_files import find_config, similar_config

        ours = cfg_path.startswith(f'{PACKAGE}::')
        try:
            path, scope = (find_config(cfg_path), None) if ours else original(cfg_path, filename)
        except (AssertionError, FileNotFoundError, ModuleNotFoundError):  # of another package
            path = find_config(cfg_path)
        if '::' in cfg_path and not osp.isfile(path):
            nearest = similar_config(cfg_path)
            raise FileNotFoundError(f'{filename}: _base_ names {cfg_path}, but there is no config {path}{nearest}')
        return path, scope

    config.Config._get_cfg_path = staticmethod(get_cfg_path)


def deletes_stored_paths(checkpoint_hook: ModuleType) -> bool:
    return checkpoint_hook.CheckpointHook.before_train.__module__ != __name__


def delete_own_files_only(checkpoint_hook: ModuleType) -> None:
    hook_class = checkpoint_hook.CheckpointHook
    original = hook_class.before_train

    @functools.wraps(original)
    def before_train(hook, runner) -> None:
        folder = runner.work_dir
        if hook.out_dir not in (None, folder):
            folder = osp.join(hook.out_dir, osp.basename(folder.rstrip(osp.sep)))
        load_from = getattr(runner, '_load_from', None)
        _forget_other_files(runner.message_hub.runtime_info, folder, load_from is None or _is_in(folder, load_from))
        original(hook, runner)

    before_train.__module__ = __name__
    hook_class.before_train = before_train


def _forget_other_files(info: dict, folder: str, continued: bool) -> None:
    """Leaves only paths of files that a `CheckpointHook` wrote into a folder.

    Args:
        info: what was resumed; changed in place.
        folder: where the hook writes to.
        continued: whether the checkpoint was in the folder. Then its paths mean files there, even if it was moved.
    """
    if 'keep_ckpt_ids' in info:
        kept = info['keep_ckpt_ids']
        info['keep_ckpt_ids'] = [step for step in kept if type(step) is int] if continued and type(kept) is list else []
    for key, stored in info.items():
        if key == 'best_ckpt' or key.startswith('best_ckpt_'):
            info[key] = None
            if isinstance(stored, str) and (continued or _is_in(folder, stored)):
                path = osp.join(folder, osp.basename(stored))
                if osp.basename(path).startswith('best_') and not osp.isdir(path):  # MMEngine deletes folders, too
                    info[key] = path


def _is_in(folder: str, path: str) -> bool:
    return osp.realpath(osp.dirname(path)) == osp.realpath(folder)


FIXES = (
    Fix(
        'configs of OneDL',
        'mmengine.config.utils',
        '"mmseg::path" is looked up in the distribution of OpenMMLab, also if that of OneDL is installed',
        'onedl-mmengine 0.10.12',
        'OneDL looks for its own distribution',
        looks_for_openmmlab,
        look_for_onedl,
    ),
    Fix(
        'configs of this package',
        'mmengine.config.config',
        'the _base_ of a config accepts names of OpenMMLab packages only, looks in the folder of the installed '
        'distribution, which an editable install does not have, and builds what comes from it in a scope of its own',
        'mmengine 0.10',
        'MMEngine finds the configs of any package',
        is_unknown,
        register_configs,
    ),
    Fix(
        'stored paths',
        'mmengine.hooks.checkpoint_hook',
        'a resumed run deletes the file or folder that the checkpoint names as the best or as a kept one, wherever it '
        'is: in the work directory of another run, or any folder, if the checkpoint is from a stranger',
        'mmengine 0.10',
        'MMEngine deletes in its own work directory only',
        deletes_stored_paths,
        delete_own_files_only,
    ),
)
