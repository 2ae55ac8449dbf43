"""Finds the configs, tools and checkpoints that come with the package.

An installed wheel has them in its folder `.mim`, where MIM and MMEngine look for them. A checkout, also one that is
installed with `pip install -e`, has them beside the package.
"""

import os.path as osp
from collections.abc import Iterator
from difflib import get_close_matches
from glob import escape, glob
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

    Raises:
        FileNotFoundError: if the package is not installed.
    """
    if '::' not in path:
        return _find(path, 'configs')
    package, inner = path.split('::', 1)
    return osp.join(_config_root(package), inner)


def _config_root(package: str) -> str:
    if package == PACKAGE:
        return osp.join(shipped_root(), 'configs')
    try:
        return osp.join(get_installed_path(package), '.mim', 'configs')
    except Exception as error:  # of pkg_resources or importlib, depending on the version
        raise FileNotFoundError(
            f'{package}:: stands for the configs of an installed package, but no package {package} is installed'
        ) from error


def similar_config(path: str) -> str:
    """The part of a message about a config that does not exist: '; the nearest is ...', or an empty string."""
    package, _, inner = path.rpartition('::')
    name, root = (inner, _config_root(package)) if package else (osp.basename(path), osp.dirname(path) or '.')
    files = glob(osp.join(escape(root), '**/*.py' if package else '*.py'), recursive=True)
    closest = get_close_matches(name, [osp.relpath(file, root) for file in files], n=1)
    return ''.join(f'; the nearest is {path.removesuffix(name)}{found}' for found in closest)


def load_config_file(path: str, place: str = '') -> Config:
    """Reads a config file, and imports its `custom_imports`.

    Args:
        path: see `find_config`.
        place: beginning of the error messages.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: if a module of `custom_imports` does not exist, or needs a package that does not.
    """
    file = find_config(path)
    if not osp.isfile(file):
        raise FileNotFoundError(
            f'{place}no config {path}{similar_config(path)}: give the path of a config file, or "package::path" for a '
            f'config of an installed package, such as "{PACKAGE}::METHOD/NAME.py" or "mmseg::NETWORK/NAME.py"'
        )
    try:
        return Config.fromfile(file)
    except ImportError as error:
        name = _missing_module(error)
        if name is None:
            raise
        raise ImportError(
            f'{place}the custom_imports of {path} need the module {name}, which is not installed: pip install '
            f'{name.partition(".")[0]}, or add the folder of a module of your own to PYTHONPATH'
        ) from error


def _missing_module(error: BaseException | None) -> str | None:
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name:
            return error.name
        error = error.__cause__ or error.__context__
    return None


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
