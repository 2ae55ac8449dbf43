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
        if not cfg_path.startswith(f'{PACKAGE}::'):
            return original(cfg_path, filename)
        from mmseg_bpkd.fileio.package_files import find_config

        path = find_config(cfg_path)
        if not osp.isfile(path):
            raise FileNotFoundError(f'{filename}: _base_ names {cfg_path}, but there is no config {path}')
        return path, None

    config.Config._get_cfg_path = staticmethod(get_cfg_path)


def ignores_failed_pictures(backend: ModuleType) -> bool:
    return backend.LocalVisBackend.add_image.__module__ != __name__


def write_pictures_or_fail(backend: ModuleType) -> None:
    def add_image(self, name: str, image, step: int = 0, **kwargs) -> None:
        from mmseg_bpkd.fileio.writing import write_png

        write_png(osp.join(self._img_save_dir, f'{name}_{step}.png'), image[..., ::-1])

    backend.LocalVisBackend.add_image = backend.force_init_env(add_image)


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
        'pictures on a full disk',
        'mmengine.visualization.vis_backend',
        'add_image leaves a truncated picture, or none, if the disk is full or the folder cannot be written',
        'mmengine 0.10',
        'LocalVisBackend.add_image raises an error',
        ignores_failed_pictures,
        write_pictures_or_fail,
    ),
)
