"""Finds the configs, tools and checkpoints that come with the package.

An installed wheel has them in its folder `.mim`, where MIM and MMEngine look for them. A checkout, also one that is
installed with `pip install -e`, has them beside the package.
"""

import os.path as osp
from collections.abc import Iterator
from typing import Any

from mmengine.config import Config
from mmengine.utils import get_installed_path

FOLDER = osp.dirname(osp.dirname(osp.abspath(__file__)))
PACKAGE = osp.basename(FOLDER)


def shipped_root() -> str:
    """Returns the folder that holds `configs`, `tools` and `checkpoints`."""
    installed = osp.join(FOLDER, '.mim')
    return installed if osp.isdir(installed) else osp.dirname(FOLDER)


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


def paths_of(node: Any, prefix: str = '') -> Iterator[tuple[str, Any]]:
    """Yields the dotted path and the value of everything in a config."""
    if not isinstance(node, (dict, Config, list, tuple)):
        return
    for key, value in enumerate(node) if isinstance(node, (list, tuple)) else node.items():
        yield f'{prefix}{key}', value
        yield from paths_of(value, f'{prefix}{key}.')
