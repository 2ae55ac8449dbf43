"""Guesses what labels with unexpected values mean, and says how to load them."""

import inspect

from mmseg_bpkd.datasets.labels import Value

from .splits import Split

CONVERTED = 'see docs/data.md for the command that converts labels'
OTHER_VALUES = 'see "Labels with other values" in docs/adding_a_dataset.md'
REDUCE_HINT = 'set reduce_zero_label=True in the dataset and its pipeline'


def likely_mistake(split: Split, values: set[Value], outside: set[Value]) -> str:
    """A guess at the cause of the values `outside` the classes, of all `values`, and what to do."""
    classes = len(split.classes)
    if classes == 19 and outside <= set(range(19, 34)):
        return f'these look like labelIds of Cityscapes, but training needs labelTrainIds: {CONVERTED}'
    if outside == {classes} and not split.reduce_zero_label:
        if zero_is_void_by_default(split):
            return f'{split.type} is published with 0 for void: {REDUCE_HINT}'
        line = _line(split, {classes: split.ignore_index})
        return f'if {classes} is void, load the labels with {line}; if 0 is void, {REDUCE_HINT}'
    return f'{how_to_load(split, values)}, or check the number of classes'


def how_to_load(split: Split, values: set[Value]) -> str:
    """The line that maps these values to the classes, if it can be guessed, else the page that says how."""
    label_map = _likely_map(split, values)
    if label_map:
        return f'if these are the classes in this order, load the labels with {_line(split, label_map)}'
    return CONVERTED if type(split.dataset).METAINFO.get('classes') else OTHER_VALUES


def zero_is_void_by_default(split: Split) -> bool:
    """Whether 0 is void in the published labels: MMSegmentation's dataset classes then have this default."""
    parameter = inspect.signature(type(split.dataset)).parameters.get('reduce_zero_label')
    return parameter is not None and parameter.default is True


def _line(split: Split, label_map: dict[Value, int]) -> str:
    void = '' if split.ignore_index == 255 else f'ignore_index={split.ignore_index}, '
    return f"dict(type='LoadCheckedAnnotations', num_classes={len(split.classes)}, {void}label_map={label_map})"


def _likely_map(split: Split, values: set[Value]) -> dict[Value, int] | None:
    """The map, if there is one value for each class, or if all colors but one are in the palette."""
    if split.reduce_zero_label or split.label_transform.get('label_map'):
        return None
    palette: dict[Value, int] = {
        tuple(color): cls for cls, color in enumerate(split.dataset.metainfo.get('palette') or [])
    }
    others, void = values - palette.keys(), split.ignore_index
    if len(values) > 1 >= len(others) and any(isinstance(value, tuple) for value in values):
        return {**palette, **dict.fromkeys(others, void)}
    for candidates in (values, values - {void}):
        if len(candidates) == len(split.classes):
            return {value: cls for cls, value in enumerate(sorted(candidates))}
    return None
