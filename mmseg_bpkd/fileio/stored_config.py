"""What the config of a finished training says, read from its text. The text is parsed and never executed."""

import ast
import os.path as osp
from contextlib import suppress
from typing import Any

from .package_files import find_checkpoint


def stored_normalization(checkpoint: dict, source: str) -> tuple[dict[str, Any], str] | None:
    """Returns the normalization that a checkpoint was trained with.

    MMEngine stores the config in `meta.cfg` of each checkpoint, and MMSegmentation 0.x in `meta.config`. An exported
    student, NAME.pth, has its config beside it, NAME.py.

    Args:
        checkpoint: the loaded checkpoint.
        source: its path or URL.

    Returns:
        `dict(mean=..., std=..., bgr_to_rgb=...)` and where it stands, for messages; None if nothing says it.
    """
    meta = checkpoint.get('meta')
    meta = meta if isinstance(meta, dict) else {}
    texts = [(meta.get(key), f'the config in {source}') for key in ('cfg', 'config')]
    beside = osp.splitext(find_checkpoint(source))[0] + '.py'
    if '://' not in source and osp.isfile(beside):
        with open(beside, encoding='utf-8', errors='replace') as file:
            texts.append((file.read(), beside))
    for text, where in texts:
        found = _normalization(text) if isinstance(text, str) else None
        if found:
            return found, where
    return None


def _normalization(text: str) -> dict[str, Any] | None:
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        variables = {
            target.id: statement.value
            for statement in ast.parse(text).body
            if isinstance(statement, ast.Assign)
            for target in statement.targets
            if isinstance(target, ast.Name)
        }
        preprocessor = _member(variables.get('model'), 'data_preprocessor') or variables.get('data_preprocessor')
        old = variables.get('img_norm_cfg')  # MMSegmentation 0.x
        if preprocessor is None and old is None:
            return None
        nodes = {
            key: _member(preprocessor, key) if preprocessor is not None else _member(old, old_key)
            for key, old_key in (('mean', 'mean'), ('std', 'std'), ('bgr_to_rgb', 'to_rgb'))
        }
        found = {key: ast.literal_eval(node) for key, node in nodes.items() if node is not None}
        if _is_numbers(found.get('mean')) and _is_numbers(found.get('std')):
            return dict(mean=list(found['mean']), std=list(found['std']), bgr_to_rgb=found.get('bgr_to_rgb') is True)
    return None


def _member(node: ast.expr | None, key: str) -> ast.expr | None:
    """Returns the value of a key of `dict(key=...)` or `{'key': ...}`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict':
        return next((keyword.value for keyword in node.keywords if keyword.arg == key), None)
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values)
        return next((value for name, value in pairs if isinstance(name, ast.Constant) and name.value == key), None)
    return None


def _is_numbers(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(x, (int, float)) for x in value)
