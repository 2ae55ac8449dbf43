"""Which network of a config is trained, and which plain segmentor it is."""

import copy
from contextlib import suppress
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS
from mmseg.registry import MODELS as SEGMENTORS

from mmseg_bpkd.fileio.package_files import paths_of

from .algorithms import SegDistill
from .segmentors import COMMON, plain_segmentor, resolve_segmentor


def student_config(model: dict) -> ConfigDict:
    """Returns the config of the plain segmentor that `model` trains: the student of a distillation, or the model.

    Args:
        model: the config of a `SegDistill` or a subclass, of a `plain_segmentor`, of an algorithm of MMRazor, or of
            any other model, which is returned unchanged.

    Raises:
        ValueError: for changes of a network that MMRazor would ignore.
    """
    config = copy.deepcopy(ConfigDict(model))
    common = {key: config.get(key) for key in COMMON}
    if is_seg_distill(config):
        return resolve_segmentor(config.student, **common)
    if _registered(config.get('type')) is plain_segmentor:
        segmentor = {key: value for key, value in config.items() if key not in common and key != 'type'}
        return resolve_segmentor(segmentor, **common)
    if 'architecture' in config:  # MMRazor's own algorithms
        architecture, preprocessor = config.architecture, config.get('data_preprocessor')
        if 'type' in architecture:  # of `plain_segmentor`, or the network itself
            student = student_config(architecture)
            student.data_preprocessor = preprocessor or student.get('data_preprocessor')
            return student
        changes = sorted(architecture.keys() - {'cfg_path', 'pretrained', '_scope_'})
        if changes:
            raise ValueError(
                f'model.architecture has {", ".join(changes)} beside cfg_path, which MMRazor ignores: add '
                "type='plain_segmentor' to architecture and teacher, and remove pretrained; see docs/mmrazor.md"
            )
        # Beside `cfg_path`, MMRazor's `pretrained` is a bool: whether to download the published weights.
        return resolve_segmentor(dict(cfg_path=architecture.cfg_path), data_preprocessor=preprocessor)
    return config


def network_config(cfg: dict, path: str) -> ConfigDict | None:
    """Returns the resolved config of the network at a path of a config, with the keys that resolving removes.

    Args:
        path: 'model.teacher', 'model.student', or 'model' for a `plain_segmentor`. Returns None for any other path.
    """
    model = cfg.get('model')
    if not isinstance(model, dict):
        return None
    if path in ('model.teacher', 'model.student') and is_seg_distill(model):
        network = model.get(path.removeprefix('model.'))
        if not isinstance(network, dict):
            return None
        resolved = resolve_segmentor(network)
    elif path == 'model' and _registered(model.get('type')) is plain_segmentor:
        network, resolved = dict(dict.fromkeys(COMMON), **model), student_config(model)
    else:
        return None
    return ConfigDict({**network, **resolved})


def takes_task(model: dict) -> bool:
    """Whether the model of a config takes `task` of a data set: a `SegDistill`, or a `plain_segmentor`."""
    return is_seg_distill(model) or _registered(model.get('type')) is plain_segmentor


def start_from_scratch(model: ConfigDict) -> None:
    """Removes the pretrained weights that the student of a distillation, or a plain segmentor, starts from, in place.

    The teacher keeps its checkpoint.

    Raises:
        ValueError: for an algorithm of MMRazor, which cannot change the config of a network.
    """
    if 'architecture' in model:
        raise ValueError("--from-scratch: MMRazor's own algorithms cannot change a network; use SegDistill")
    student = model.student if is_seg_distill(model) else model
    pretrained = [path for path, value in paths_of(student_config(model)) if _is_pretrained(path, value)]
    changed = Config(dict(network=student))
    changed.merge_from_dict({f'network.{path}': None for path in pretrained})
    student.update(changed.network)


def _is_pretrained(path: str, value: Any) -> bool:
    key = path.split('.')[-1]
    return key == 'pretrained' or (key == 'init_cfg' and isinstance(value, dict) and value.get('type') == 'Pretrained')


def is_seg_distill(model: dict) -> bool:
    """Whether the `type` of a model config is `SegDistill` or a subclass, under whichever name it is registered."""
    kind = _registered(model.get('type'))
    return isinstance(kind, type) and issubclass(kind, SegDistill)


def _registered(kind: Any) -> Any:
    """Returns the class or function that a config's `type` stands for; None if the name is not registered."""
    if not isinstance(kind, str):
        return kind
    with MODELS.switch_scope_and_registry(None) as default_registry:
        for registry in (default_registry, SEGMENTORS):  # the default scope may not be set yet
            with suppress(RuntimeError):  # a name that is not registered raises or gives None
                found = registry.get(kind)
                if found is not None:
                    return found
    return None
