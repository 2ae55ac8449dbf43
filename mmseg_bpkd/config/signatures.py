"""The arguments that a `type` of a config accepts, and error messages that name them."""

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from types import TracebackType
from typing import Any

import mmengine.registry
from mmengine.registry import Registry

from mmseg_bpkd.fileio.package_files import paths_of

UNKNOWN_ARGUMENT = re.compile(r"got an unexpected keyword argument '(\w+)'")
UNKNOWN_TYPE = re.compile(r'^Failed to get (\S+)$|^(\S+) is not in the \S+ registry')


def arguments_of(target: Callable) -> tuple[list[str], bool]:
    """Returns the names of the arguments that a class or function accepts, and whether it accepts any other name.

    A class that passes its `**kwargs` on also accepts the arguments of its base classes.
    """
    names, open_ended = {}, True
    for function in _constructors(target):
        parameters = list(inspect.signature(function).parameters.values())
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        names.update(dict.fromkeys(parameter.name for parameter in parameters if parameter.kind in named))
        open_ended = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
        if not open_ended:
            break
    names.pop('self', None)
    return list(names), open_ended


def _constructors(target: Callable) -> list[Callable]:
    if not inspect.isclass(target):
        return [target]
    return [vars(base)['__init__'] for base in target.__mro__ if '__init__' in vars(base) and base is not object]


def registered(name: str, scope: str | None = None) -> list[Callable]:
    """Returns what MMEngine's registries and their children hold under a name, which may have a scope ('mmseg.FCN').

    Without a scope, what this package registers under the name is the only result, as in a `SegDistiller`.

    Args:
        scope: `_scope_` of the config. If it has the name, the result is only what it has.
    """
    prefix, _, key = name.rpartition('.')
    found = [(registry.scope, registry.module_dict[key]) for registry in _registries() if key in registry.module_dict]
    inside = [target for holder, target in found if holder == (prefix or scope)]
    if inside or prefix:
        return inside
    targets = [target for _, target in found]
    return [target for target in targets if target.__module__.startswith('mmseg_bpkd.')] or targets


def _registries() -> Iterator[Registry]:
    waiting = [value for value in vars(mmengine.registry).values() if isinstance(value, Registry)]
    while waiting:
        registry = waiting.pop()
        yield registry
        waiting.extend(registry.children.values())


def nearest(name: str, names: Sequence[str], cutoff: float = 0.6) -> str | None:
    """Returns the most similar of `names`; None if none is similar."""
    return next(iter(get_close_matches(name, names, n=1, cutoff=cutoff)), None)


def unknown_argument(owner: str, name: str, valid: Sequence[str]) -> str:
    """A sentence that names the unknown argument, the nearest valid one, and all valid ones."""
    closest = nearest(name, valid)
    hint = f'; the nearest is {closest!r}' if closest else ''
    return f'{owner} has no argument {name!r}{hint}; its arguments are {", ".join(sorted({*valid} - {"type"}))}'


def explain_build_error(error: BaseException | None, cfg: dict) -> str | None:
    """Returns one line about an unknown argument or type in a config. Returns None for any other error.

    Args:
        error: raised while MMEngine built a part of `cfg`.
        cfg: the whole config, in which the argument is searched.
    """
    while error is not None:
        argument, unknown = UNKNOWN_ARGUMENT.search(str(error)), UNKNOWN_TYPE.match(str(error).strip('"\''))
        built = _last_build(error.__traceback__)
        if argument and argument[1] in built.get('args', {}) and 'obj_cls' in built:
            name, target = argument[1], built['obj_cls']
            return _place(cfg, name, built['args'][name]) + unknown_argument(
                target.__name__, name, arguments_of(target)[0]
            )
        if unknown and built:
            name = unknown[1] or unknown[2]
            closest = nearest(name, [key for registry in _registries() for key in registry.module_dict])
            return (
                f'{_place(cfg, "type", name)}no class {name!r} is registered'
                + (f'; the nearest is {closest!r}' if closest else '')
                + '; the module that defines a class of your own must be in custom_imports'
            )
        error = error.__cause__ or error.__context__
    return None


def _last_build(traceback: TracebackType | None) -> dict[str, Any]:
    """The local variables of the innermost call of MMEngine's `build_from_cfg`."""
    found = {}
    while traceback is not None:
        if traceback.tb_frame.f_code.co_name == 'build_from_cfg':
            found = traceback.tb_frame.f_locals
        traceback = traceback.tb_next
    return found


def _place(cfg: dict, key: str, value: Any) -> str:
    """'path.of.key=value: ' of the first place in a config, or ''."""
    path = next((path for path, found in paths_of(cfg) if path.split('.')[-1] == key and found == value), None)
    return f'{path}={value!r}: ' if path else ''
