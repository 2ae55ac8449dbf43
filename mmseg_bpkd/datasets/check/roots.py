"""Are the data folders of a config there?"""

import os
import os.path as osp
from collections.abc import Iterator

from mmengine.config import Config


def check_data_roots(cfg: Config, *dataloaders: str) -> None:
    """Checks that the data folders of the named data loaders exist.

    Raises:
        FileNotFoundError: for the first folder that is missing or empty.
    """
    for name in dataloaders:
        for place, folder in _data_folders(cfg.get(name) or {}, name):
            if '://' not in folder and not (osp.isdir(folder) and os.listdir(folder)):
                state = 'an empty folder' if osp.isdir(folder) else 'not a folder'
                raise FileNotFoundError(
                    f'{place} is {folder!r}, which is {state}: prepare the data as docs/data.md describes, or set '
                    f'its folder with --cfg-options {name}.dataset.data_root=PATH. '
                    'bpkd check CONFIG checks the whole data set'
                )


def _data_folders(node, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict):
        root = node.get('data_root')
        if root:
            yield f'{place}.data_root', root
            for part, folder in node.get('data_prefix', {}).items():
                yield f'{place}.data_prefix.{part}', osp.join(root, folder)
        for key, child in node.items():
            yield from _data_folders(child, f'{place}.{key}')
    elif isinstance(node, (list, tuple)):
        for i, child in enumerate(node):
            yield from _data_folders(child, f'{place}.{i}')
