"""Finds the configs, tools and checkpoints that come with the package.

An installed wheel has them in its folder `.mim`, where MIM and MMEngine look for them. A checkout, also one that is
installed with `pip install -e`, has them beside the package.
"""

import os.path as osp

from mmengine.config import Config
from mmengine.utils import get_installed_path

# Part of a config's path in version 0.1 -> what is used in its place.
REPLACED = {
    'pspnet-r18w32_pspnet-r18w16_1xb8-2k_camvid-192x192': (
        'deeplabv3plus-r18w32_deeplabv3plus-r18w16_1xb6-4k_camvid-240x320'
    ),
    'mmrazor/bpkd_': 'mmrazor/bpkd-mmrazor_',
}
PACKAGE = osp.basename(osp.dirname(osp.abspath(__file__)))


def shipped_root() -> str:
    """Returns the folder that holds `configs`, `tools` and `checkpoints`."""
    package = osp.dirname(osp.abspath(__file__))
    installed = osp.join(package, '.mim')
    return installed if osp.isdir(installed) else osp.dirname(package)


def find_config(path: str) -> str:
    """Returns the path of a config file. Whether there is such a file is not checked.

    Args:
        path: 'package::path', relative to the configs of an installed package ('mmseg_bpkd::bpkd/...py'), or a path.
            A relative path that starts with 'configs' is looked up in the working directory, then in this package.
    """
    if '::' not in path:
        return _find(path, 'configs')
    package, inner = path.split('::', 1)
    root = shipped_root() if package == PACKAGE else osp.join(get_installed_path(package), '.mim')
    return osp.join(root, 'configs', inner)


def load_config_file(path: str) -> Config:
    """Reads a config file.

    Args:
        path: see `find_config`.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    file = find_config(path)
    if not osp.isfile(file):
        for old, new in REPLACED.items():
            if old in path:
                raise FileNotFoundError(f'no config {path}: it was removed, use {path.replace(old, new)}')
        raise FileNotFoundError(
            f'no config {path}: give the path of a config file, or "{PACKAGE}::METHOD/NAME.py" for one of the package'
        )
    return Config.fromfile(file)


def find_checkpoint(path: str) -> str:
    """Returns the path of a checkpoint. Whether there is such a file is not checked.

    Args:
        path: a path or URL. A relative path that starts with 'checkpoints' is looked up in the working directory, then
            in this package.
    """
    return _find(path, 'checkpoints')


def _find(path: str, folder: str) -> str:
    if osp.exists(path) or osp.normpath(path).split(osp.sep)[0] != folder:
        return path
    shipped = osp.join(shipped_root(), path)
    return shipped if osp.isfile(shipped) else path
