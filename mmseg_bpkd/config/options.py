"""`--cfg-options KEY=VALUE ...`: changes of a config. A key that would have no effect is an error."""

import inspect
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.config.config import DELETE_KEY
from mmengine.optim import AmpOptimWrapper
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, LogProcessor, Runner, TestLoop, ValLoop
from torch.utils.data import DataLoader

from mmseg_bpkd.fileio.package_files import paths_of
from mmseg_bpkd.models.roles import network_config

from .signatures import arguments_of, nearest, registered, unknown_argument

# Keys at the top level that have an effect: arguments of the Runner, and what it and the tools read beside them.
READ = {*inspect.signature(Runner).parameters} - {'cfg', 'launcher'} | {
    'activation_checkpointing',
    'auto_scale_lr',
    'compile',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'num_images',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
    'vis_backends',
}
LOADER = [DataLoader, 'num_batch_per_epoch', 'disable_subprocess_warning']
# The keys of dicts that need no `type`, or that have other keys beside the arguments of their `type`. "*": any part.
KEYS = {
    '': READ,
    'auto_scale_lr': ['enable', 'base_batch_size'],
    'custom_hooks.*': ['priority'],
    'default_hooks': ['runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint'],
    'default_hooks.*': ['priority'],
    'env_cfg': ['cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'],
    'log_processor': [LogProcessor],
    'num_images': ['train', 'val', 'test'],
    'optim_wrapper': [AmpOptimWrapper, 'constructor', 'paramwise_cfg'],  # --amp is applied later
    'param_scheduler.*': ['convert_to_iter_based'],
    'randomness': [Runner.set_randomness],
    'test_cfg': [TestLoop],
    'test_dataloader': LOADER,
    'train_cfg': [IterBasedTrainLoop, EpochBasedTrainLoop, 'by_epoch'],
    'train_dataloader': LOADER,
    'val_cfg': [ValLoop],
    'val_dataloader': LOADER,
}


NEW = object()  # in place of a value that does not exist yet


def merge_options(cfg: Config, options: dict[str, Any]) -> None:
    """Changes a config in place.

    Args:
        options: {dotted key: value}. A key must be in the config, or name an argument of the class that the config
            has there. With a "+" in front, it may also be new, or append to a list: '+custom_hooks.2.type'.

    Raises:
        FileNotFoundError: if a key is inside a network whose `cfg_path` does not exist.
        ValueError: for a key that would have no effect. The message names the nearest key.
    """
    kept: dict[str, Any] = {}
    for option, value in options.items():
        key = option.removeprefix('+')
        if value is None:  # it removes what was set inside of it
            kept = {other: kept[other] for other in kept if not other.removeprefix('+').startswith(f'{key}.')}
        for other in kept:
            if _contains(key, other.removeprefix('+')) or _contains(other.removeprefix('+'), key):
                raise ValueError(f'--cfg-options sets the same place twice: {other} and {option}')
        kept[option] = value
    for option, value in sorted(kept.items(), key=_rank):
        try:
            _merge(cfg, option.removeprefix('+').split('.'), value, may_be_new=option.startswith('+'))
        except ValueError as error:
            raise ValueError(f'--cfg-options {option}={value}: {error}') from None


def _contains(key: str, other: str) -> bool:
    return f'{other}.'.startswith(f'{key}.')


def _rank(option: tuple[str, Any]) -> int:
    """New keys come first, then the keys that decide which others are valid."""
    last = option[0].split('.')[-1]
    return 0 if option[0].startswith('+') else {DELETE_KEY: 1, 'type': 2, 'cfg_path': 3}.get(last, 4)


def _merge(cfg: Config, parts: list[str], value: Any, may_be_new: bool) -> None:
    if not all(parts):
        raise ValueError('a key is made of names that are joined by single dots')
    if parts[0] in cfg and parts[0] not in READ and not may_be_new:
        raise ValueError(_instead_of_variable(cfg, *parts))
    node, lists = cfg._cfg_dict, {}
    for i in range(len(parts)):
        if isinstance(node, list):
            lists[i] = node
        node = _child(cfg, parts, i, node, lists, may_be_new)
        if node is NEW:
            break
    if node is not NEW:
        _require_replaceable(parts, node, value)
    _set(cfg, parts, value, lists)


def _child(cfg: Config, parts: list[str], i: int, node: Any, lists: dict[int, list], may_be_new: bool) -> Any:
    """What parts[i] names inside of `node`, or `NEW` if it may be set and does not exist yet."""
    here, part = '.'.join(parts[:i]), parts[i]
    if isinstance(node, dict):
        node = network_config(cfg, here) or node
        if part in node:
            return node[part]
        if not may_be_new:
            _require_accepted(cfg, parts, i, node)
        return NEW
    if isinstance(node, list):
        if part.isdigit() and int(part) < len(node):
            return node[int(part)]
        if part == str(len(node)) and may_be_new:
            _set(cfg, parts[: i + 1], ConfigDict(), lists)
            return NEW
        raise ValueError(
            f'{here} is a list, whose elements are {here}.0 to {here}.{len(node) - 1}. To append one, write '
            f'+{here}.{len(node)}'
        )
    if node is None:
        _set(cfg, [*parts[:i], DELETE_KEY], True, lists)  # makes it an empty dict
        return NEW
    raise ValueError(f'{here} is {node!r}, which has no keys: set {here} itself')


def _require_replaceable(parts: list[str], node: Any, value: Any) -> None:
    """Raises an error if a number or the like would replace a dict."""
    if isinstance(node, dict) and node and value is not None and not isinstance(value, dict):
        method = '. To replace the distiller, use --method' if parts == ['model', 'distiller'] else ''
        raise ValueError(f'it has the keys {", ".join(node)}: set one of them, or set it to None{method}')


def _set(cfg: Config, parts: list[str], value: Any, lists: dict[int, list]) -> None:
    """Sets a value. MMEngine sets keys of dicts only, so a list that directly contains the value is copied.

    Args:
        lists: {number of parts that lead to it: each list on the way}.
    """
    if parts[-1] == DELETE_KEY and len(parts) - 2 in lists:
        parts, value = parts[:-1], ConfigDict()
    while len(parts) - 1 in lists:
        around, index = list(lists[len(parts) - 1]), int(parts[-1])
        around[index : index + 1] = [value]
        parts, value = parts[:-1], around
    cfg.merge_from_dict({'.'.join(parts): value})


def _require_accepted(cfg: Config, parts: list[str], i: int, node: dict) -> None:
    """Raises an error if the config does not have a key, and what is built from the dict does not accept it.

    Args:
        i: parts[i] is the first part that the config does not have.
        node: the dict that would get it.
    """
    here, part, kind = '.'.join(parts[:i]), parts[i], node.get('type')
    owners = registered(kind, node.get('_scope_')) if isinstance(kind, str) else [kind] if callable(kind) else []
    if (part == DELETE_KEY and here) or (part == 'type' and (here in KEYS or not node)):
        return
    if kind is not None and (part == '_scope_' or not owners):  # a class that is not registered yet may accept it
        return
    valid = list(node)
    for accepted in [*owners, *KEYS.get(here, ()), *KEYS.get(f'{here.rpartition(".")[0]}.*', ())]:
        names, takes_any = ([accepted], False) if isinstance(accepted, str) else arguments_of(accepted)
        if takes_any or part in names:
            return
        valid += names
    if owners:
        text = unknown_argument(owners[0].__name__, part, valid)
    else:
        text = f'the config has no key {".".join(parts[: i + 1])}{_nearest_key(cfg, parts, i, valid)}'
    raise ValueError(f'{text}. To set a new key on purpose, write +{".".join(parts)}')


def _nearest_key(cfg: Config, parts: list[str], i: int, valid: list[str]) -> str:
    """The end of a sentence that names the most similar key, or else all keys of the dict."""
    closest = nearest(parts[i], valid)
    if closest:
        return f'; the nearest is {".".join([*parts[:i], closest, *parts[i + 1 :]])}'
    paths = [path for path, _ in paths_of(cfg) if path.split('.')[0] in READ]
    same_end = [path for path in paths if path.split('.')[-1] == parts[-1]]
    closest = nearest('.'.join(parts), same_end or paths, cutoff=0)
    return f'; the nearest is {closest}; {".".join(parts[:i]) or "the config"} has {", ".join(sorted({*valid}))}'


def _instead_of_variable(cfg: Config, name: str, *rest: str) -> str:
    """A sentence about a top-level key that nothing reads: the file copied its value to other places."""
    variable = cfg[name]
    named = not isinstance(variable, (dict, list, tuple))  # equal numbers and strings may have nothing in common
    places = [
        '.'.join([path, *rest])
        for path, value in paths_of(cfg)
        if path.split('.')[0] in READ
        and type(value) is type(variable)
        and value == variable
        and (not named or path.split('.')[-1] == name)
    ]
    instead = f', which copied it to other places: set {", ".join(places)} instead' if places else ''
    return (
        f'{name} is a variable of the config file{instead}. To set only the variable, write +{".".join([name, *rest])}'
    )
