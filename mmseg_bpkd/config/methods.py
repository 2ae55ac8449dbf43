"""`--method NAME`: replaces the distiller of a config."""

import copy
import os.path as osp
import re
from glob import glob

from mmengine.config import Config

from mmseg_bpkd.fileio.package_files import shipped_root
from mmseg_bpkd.models.roles import is_seg_distill

from .signatures import nearest

FOLDER = osp.join(shipped_root(), 'configs/_base_/distillers')


def known_methods() -> dict[str, str]:
    """Returns {name: path} of the distillers of this repository, such as 'bpkd' and 'variants/skds_original'."""
    paths = sorted(glob(osp.join(FOLDER, '**/*.py'), recursive=True))
    return {osp.relpath(path, FOLDER).removesuffix('.py'): path for path in paths}


def replace_method(cfg: Config, method: str) -> Config:
    """Returns the config that names another distiller file, under the name of the new method.

    The work directory, the logs and the saved config are named after the returned config.

    Args:
        cfg: the config of a distillation. It is changed.
        method: one of `known_methods`, or the path of a config file that defines `distiller`.

    Raises:
        ValueError: for an unknown method, a file without `distiller`, or a config that is not that of a `SegDistill`.
    """
    known = known_methods()
    path = known.get(method, method)
    if not osp.isfile(path):
        closest = nearest(method, list(known))
        raise ValueError(
            f'--method {method}: unknown method{f"; the nearest is {closest}" if closest else ""}; the methods are '
            f'{", ".join(known)}; or give the path of a file that defines distiller'
        )
    model = cfg.get('model') or {}
    if not is_seg_distill(model):
        raise ValueError(
            f'--method {method}: {cfg.filename} has the model {model.get("type")!r}, expected the config of a '
            'distillation, with SegDistill'
        )
    added = Config.fromfile(path)
    others = added.keys() - {'distiller', 'custom_imports'}
    if 'distiller' not in added or others:
        raise ValueError(
            f'--method {method}: {path} defines {", ".join(sorted(added.keys())) or "nothing"}, expected distiller '
            'and, for a loss of your own, custom_imports; a file with other keys must be in the _base_ of a config'
        )
    label = method.replace('/', '-') if method in known else osp.splitext(osp.basename(path))[0]
    stem, suffix = osp.splitext(osp.basename(cfg.filename))
    filename = osp.join(osp.dirname(cfg.filename), renamed(stem, label) + suffix)
    cfg = Config(cfg._cfg_dict, f'{cfg.text}\n{added.text}', filename, cfg.env_variables)
    cfg.model.distiller, cfg.distiller = added.distiller, copy.deepcopy(added.distiller)
    if cfg.get('work_dir'):
        folder, name = osp.split(cfg.work_dir.rstrip('/'))
        cfg.work_dir = osp.join(folder, renamed(name, label))
    if cfg.get('experiment_name'):
        cfg.experiment_name = renamed(cfg.experiment_name, label)
    if 'custom_imports' in added:  # so that the saved config imports them, too
        imports = [*cfg.get('custom_imports', {}).get('imports', []), *added.custom_imports['imports']]
        cfg.custom_imports = dict(added.custom_imports, imports=list(dict.fromkeys(imports)))
    return cfg


def renamed(name: str, label: str) -> str:
    """Replaces the method at the start of a name: 'bpkd_pspnet-r101' to 'cwd_pspnet-r101'. Otherwise adds it there."""
    methods = sorted(map(osp.basename, known_methods()), key=len, reverse=True)
    old = re.match(rf'({"|".join(map(re.escape, methods))})(?=_|-|$)', name) if methods else None
    return label + (name[old.end() :] if old else f'_{name}')
