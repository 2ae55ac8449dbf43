"""Turning a distillation checkpoint into a plain MMSegmentation config and checkpoint."""

import copy
import io
import os
import os.path as osp
from collections.abc import Sequence

import torch
from mmengine.config import Config, ConfigDict
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS

from mmseg_bpkd.fileio.checkpoint import load_strictly, read_checkpoint, segmentor_state
from mmseg_bpkd.fileio.package_files import find_checkpoint, find_config, paths_of
from mmseg_bpkd.fileio.safetensors_files import SUFFIX, save_safetensors
from mmseg_bpkd.fileio.writing import check_writable, replacing, write_text
from mmseg_bpkd.models.roles import student_config
from mmseg_bpkd.models.segmentors import build_segmentor

CONFIG_KEYS = (
    'default_scope',
    'env_cfg',
    'vis_backends',
    'visualizer',
    'log_processor',
    'log_level',
    'default_hooks',
    'test_cfg',
    'test_dataloader',
    'test_evaluator',
    'tta_model',
    'tta_pipeline',
    'crop_size',  # for tools/analysis/complexity.py
)
MARK = '# Exported by mmseg_bpkd'  # how the config of an export begins


def export_student(cfg: Config, checkpoint: str, out: str, half: bool = False) -> str:
    """Writes the student of a checkpoint as `out`, and its plain config beside it.

    Args:
        cfg: the config of the distillation, or of a plain run.
        checkpoint: path or URL of a checkpoint of that run.
        out: path of the checkpoint to write, NAME.pth or NAME.safetensors. It holds the student's weights, the class
            names and the palette.
        half: whether to store floating-point weights as float16.

    Returns:
        The path of the config, NAME.py.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        ImportError: for NAME.safetensors, if safetensors is not installed.
        OSError: if a file cannot be written. The files of an earlier export stay.
        ValueError: if `out` ends with another suffix, if a file would be written over one that the export reads or that
            is not of an earlier export, if the checkpoint cannot be read or does not fit the student, or if neither the
            checkpoint nor the data set names the classes.
    """
    config = config_path(out)
    check_not_read((out, config), cfg, checkpoint)
    _check_exported(out, config)
    check_writable(out, config)
    loaded = read_checkpoint(checkpoint)
    plain = plain_config(cfg)
    model = build_segmentor(plain.model)
    load_strictly(model, segmentor_state(loaded, model, checkpoint), checkpoint)
    state = {
        key: value.half() if half and value.is_floating_point() else value for key, value in model.state_dict().items()
    }
    meta = dict(dataset_meta=dataset_meta(cfg, loaded, checkpoint))
    with replacing(out) as weights:  # an old pair stays until both are written
        if out.endswith(SUFFIX):
            save_safetensors(weights, state, meta)
        else:
            content = io.BytesIO()
            torch.save(dict(meta=meta, state_dict=state), content)
            with open(weights, 'wb') as file:
                file.write(content.getbuffer())
        write_text(config, f'{MARK}: the config of {osp.basename(out)}\n{plain.pretty_text}')
    return config


def config_path(out: str) -> str:
    """Returns where the config of an exported checkpoint goes: NAME.py for NAME.pth and NAME.safetensors.

    Raises:
        ValueError: if `out` ends with another suffix.
    """
    if not out.endswith(('.pth', SUFFIX)):
        raise ValueError(f'the exported checkpoint must be named *.pth or *{SUFFIX}, got {out}')
    return osp.splitext(out)[0] + '.py'


def check_not_read(written: Sequence[str], cfg: Config, checkpoint: str) -> None:
    """Checks that an export does not overwrite what it reads, under whichever name.

    Args:
        written: the files that it writes.
        cfg, checkpoint: as in `export_student`.

    Raises:
        ValueError: if one of them is the checkpoint, a file of the config, or a file that the config names.
    """
    # The text of a config has the path of each of its files before the content of the file.
    values = [(path, value) for path, value in paths_of(cfg) if isinstance(value, str)]
    networks = [find_config(value) for path, value in values if path.endswith('.cfg_path')]
    named = [find_checkpoint(value) for _, value in values]
    files = [find_checkpoint(checkpoint), cfg.filename, *networks, *named, *cfg.text.splitlines()]
    read = {_identity(path) for path in files}
    for path in written:
        if _identity(path) in read - {None}:
            raise ValueError(
                f'the export would overwrite {path}, which is the given checkpoint or a file of the given config: '
                f'choose another name than {written[0]}'
            )


def _identity(path: str | None) -> tuple[int, int] | None:
    """What a file has under all of its names; None if there is no file."""
    if not path or not osp.isfile(path):
        return None
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _check_exported(out: str, config: str) -> None:
    if osp.lexists(config):
        with open(config, encoding='utf-8', errors='replace') as file:
            exported = file.readline().startswith(MARK)
    else:
        exported = not osp.lexists(out)
    if not exported:
        there = config if osp.lexists(config) else out
        raise ValueError(
            f'the export would overwrite {there}, which is not of an earlier export: choose another name than {out}, '
            f'or remove {there}'
        )


def plain_config(cfg: Config) -> Config:
    """Returns the config of the student, with what testing and `init_model` need.

    Args:
        cfg: the config of a distillation, or of a plain run.
    """
    plain = Config({key: cfg[key] for key in CONFIG_KEYS if key in cfg})
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        plain.model = student_config(cfg.model)
    plain.model.pop('pretrained', None)
    plain.model.backbone.pop('init_cfg', None)
    plain.test_pipeline = copy.deepcopy(test_dataset(cfg).pipeline)  # for `inference_model`, which loads no labels
    for transform in plain.test_pipeline:
        transform.pop('label_map', None)
    for _, transform in list(paths_of(plain)):
        if isinstance(transform, dict) and transform.get('type') == 'LoadCheckedAnnotations':
            if transform.get('label_map'):
                continue  # `LoadAnnotations` cannot map values
            transform['type'] = 'LoadAnnotations'  # `inference_model` finds the transform by its original name
            transform.pop('num_classes')
            transform.pop('ignore_index', None)
    # Registers metrics and data sets of this package and of the user. May fail, since most students run without them.
    imports = ['mmseg_bpkd.engine', *cfg.get('custom_imports', {}).get('imports', [])]
    plain.custom_imports = dict(imports=list(dict.fromkeys(imports)), allow_failed_imports=True)
    plain.default_hooks.pop('checkpoint', None)
    return plain


def test_dataset(cfg: Config) -> ConfigDict:
    """Returns the config of the test data set: of several that are joined, that of the first."""
    dataset = cfg.test_dataloader.dataset
    while 'datasets' in dataset or 'dataset' in dataset:  # wrappers, such as ConcatDataset
        dataset = dataset['datasets'][0] if 'datasets' in dataset else dataset['dataset']
    return dataset


def dataset_meta(cfg: Config, checkpoint: dict, source: str = 'the checkpoint') -> dict:
    """Returns the names and colors of the classes.

    They come from the checkpoint, as MMSegmentation 1.x or 0.x stores them, or else from the test data set.

    Args:
        cfg: a config with `test_dataloader`.
        checkpoint: a loaded checkpoint.
        source: its path, for error messages.

    Returns:
        {'classes': tuple of names, 'palette': list of [red, green, blue]}

    Raises:
        ValueError: if neither has them, or if they are no names and colors.
    """
    dataset, meta = test_dataset(cfg), checkpoint.get('meta', {})
    kind = DATASETS.get(dataset.type) if isinstance(dataset.type, str) else dataset.type
    if meta.get('dataset_meta'):
        meta = meta['dataset_meta']
    else:
        old = {key.lower(): meta[key] for key in ('CLASSES', 'PALETTE') if meta.get(key)}
        meta = {**getattr(kind, 'METAINFO', {}), **dataset.get('metainfo', {}), **old}
    if not {'classes', 'palette'} <= meta.keys():
        name = getattr(kind, '__name__', f'{dataset.type}, which is not registered,')
        raise ValueError(
            f'neither the checkpoint nor {name} has the names and colors of the classes: set '
            'metainfo=dict(classes=..., palette=...) of this data set in test_dataloader'
        )
    try:
        classes, palette = tuple(meta['classes']), [[int(value) for value in color] for color in meta['palette']]
    except (TypeError, ValueError):
        classes, palette = (), []
    right = all(type(name) is str for name in classes) and all(len(color) == 3 for color in palette)
    if not classes or isinstance(meta['classes'], str) or len(palette) < len(classes) or not right:
        raise ValueError(
            f'the classes and the palette of {source}, or of the test data set, are not one name and one color, '
            f'[red, green, blue], for each class: got {meta["classes"]!r} and {meta["palette"]!r}'
        )
    return dict(classes=classes, palette=palette)


def load_segmentor(cfg: Config, loaded: dict | None, checkpoint: str) -> BaseModel:
    """Returns the student of a loaded checkpoint on the CPU, in eval mode, without its auxiliary head.

    Args:
        cfg: the config of the distillation, or of a plain run. If the network has no auxiliary head there, that of the
            checkpoint is ignored.
        loaded: the checkpoint; None: random weights.
        checkpoint: its name, for error messages.

    Raises:
        ValueError: if the checkpoint does not fit.
    """
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        config = student_config(cfg.model)
        config.pretrained = None
        config.backbone.pop('init_cfg', None)
        model = revert_sync_batchnorm(build_segmentor(config))
    if loaded is not None:
        state = segmentor_state(loaded, model, checkpoint)
        if not config.get('auxiliary_head'):
            state = {key: value for key, value in state.items() if not key.startswith('auxiliary_head.')}
        load_strictly(model, state, checkpoint)
    model.auxiliary_head = None
    return model.eval()
