"""Faults of MMEngine."""

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
)
