"""Segmentors described by the path of a config, with changes merged over it."""

import copy
import os.path as osp
from typing import Iterator, Optional

from mmengine.config import Config, ConfigDict
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope
from mmengine.utils import get_installed_path
from mmseg.registry import MODELS as SEGMENTORS


def resolve_segmentor(
    segmentor: dict,
    num_classes: Optional[int] = None,
    data_preprocessor: Optional[dict] = None,
    test_cfg: Optional[dict] = None,
) -> ConfigDict:
    """The plain model config that `segmentor` stands for.

    Args:
        segmentor: a model config; or dict(cfg_path=..., **changes), where `cfg_path` is 'package::path' within the
            configs of an installed package ('mmseg::pspnet/...py') or a file, and `changes` are merged into its
            `model` as a child config would merge them.
        num_classes: of every head, if given.
        data_preprocessor, test_cfg: replace the model's own, if given.

    Raises:
        FileNotFoundError: if `cfg_path` leads to no file.
    """
    changes = copy.deepcopy(ConfigDict(segmentor))
    path = changes.pop('cfg_path', None)
    model = changes
    if path is not None:
        cfg = Config(dict(model=_read_model(path)))
        cfg.merge_from_dict(dict(model=changes))
        model = cfg.model
    if num_classes is not None:
        for head in _heads(model):
            head.num_classes = num_classes
    if data_preprocessor is not None:
        model.data_preprocessor = copy.deepcopy(data_preprocessor)
    if test_cfg is not None:
        model.test_cfg = copy.deepcopy(test_cfg)
    return model


def student_config(model: dict) -> ConfigDict:
    """The plain segmentor that a model config trains: the student of a distillation, or the model itself."""
    model = copy.deepcopy(ConfigDict(model))
    kind = model.get('type')
    if kind in ('SegDistill', 'PlainSegmentor'):
        common = {key: model.get(key) for key in ('num_classes', 'data_preprocessor', 'test_cfg')}
        segmentor = (
            model.get('student')
            if kind == 'SegDistill'
            else {key: value for key, value in model.items() if key not in common and key != 'type'}
        )
        return resolve_segmentor(segmentor, **common)
    if 'architecture' in model:  # MMRazor's own algorithms
        architecture = model.architecture
        if 'cfg_path' in architecture:
            architecture.pop('pretrained', None)  # there, whether to load published weights
        return resolve_segmentor(architecture, data_preprocessor=model.get('data_preprocessor'))
    return model


def build_segmentor(model: dict) -> BaseModel:
    with DefaultScope.overwrite_default_scope('mmseg'):
        return SEGMENTORS.build(model)


@MODELS.register_module(name='PlainSegmentor')
def plain_segmentor(
    num_classes: Optional[int] = None,
    data_preprocessor: Optional[dict] = None,
    test_cfg: Optional[dict] = None,
    **segmentor,
) -> BaseModel:
    """Builds what `resolve_segmentor` describes: a teacher or a student on its own, as a model config."""
    return build_segmentor(resolve_segmentor(segmentor, num_classes, data_preprocessor, test_cfg))


def _read_model(path: str) -> ConfigDict:
    file = path
    if '::' in path:
        package, inner = path.split('::', 1)
        file = osp.join(get_installed_path(package), '.mim', 'configs', inner)
    if not osp.isfile(file):
        raise FileNotFoundError(f'cfg_path={path!r}: no config {file}')
    cfg = Config.fromfile(file)
    if 'data_preprocessor' in cfg:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    return cfg.model


def _heads(model: ConfigDict) -> Iterator[ConfigDict]:
    for name in ('decode_head', 'auxiliary_head'):
        heads = model.get(name) or []
        yield from heads if isinstance(heads, list) else [heads]
