"""Faults of MMRazor."""

import functools
import sys
import types
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from .table import Fix


def leaves_inplace_on(base: ModuleType) -> bool:
    from torch import nn

    probe = types.SimpleNamespace(architecture=nn.Sequential(nn.ReLU(inplace=True)))
    probe.architecture.inplace = True
    probe.set_module_inplace_false = functools.partial(base.BaseAlgorithm.set_module_inplace_false, probe)
    probe.set_module_inplace_false(probe.architecture, 'self.architecture')
    return probe.architecture[0].inplace


def turn_inplace_off(base: ModuleType) -> None:
    def set_module_inplace_false(self, architecture, varstr: str) -> None:
        for module in architecture.modules():
            if hasattr(module, 'inplace'):
                module.inplace = False

    base.BaseAlgorithm.set_module_inplace_false = set_module_inplace_false


LIMIT = sys.getrecursionlimit()


def allows_endless_recursion(_: ModuleType) -> bool:
    return sys.getrecursionlimit() > max(LIMIT, 10_000)


def restore_the_limit(_: ModuleType) -> None:
    sys.setrecursionlimit(LIMIT)


class Records(list):
    """What a recorder has recorded, with the version of each tensor at that time.

    PyTorch counts the changes of a tensor in place, also without a gradient, in its attribute `_version`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.versions: list[dict[int, int]] = []  # of each record: {id of a tensor: version}
        self.before: dict[int, int] = {}

    def append(self, record: Any) -> None:
        super().append(record)
        self.versions.append({**versions_of(record), **self.before})
        self.before = {}

    def note(self, inputs: Any) -> None:
        """Notes the versions of the inputs of a call. MMRazor records them after the call, which may change them."""
        self.before = versions_of(inputs)

    def is_overwritten(self, index: int, data: Any) -> bool:
        noted = self.versions[index]
        return any(noted.get(key, version) != version for key, version in versions_of(data).items())


def versions_of(data: Any) -> dict[int, int]:
    return {id(tensor): tensor._version for tensor in tensors_of(data) if not tensor.is_inference()}


def tensors_of(data: Any) -> Iterator[Any]:
    import torch

    if isinstance(data, torch.Tensor):
        yield data
    elif isinstance(data, (list, tuple, dict)):
        for part in data.values() if isinstance(data, dict) else data:
            yield from tensors_of(part)


def returns_overwritten_records(recorder: ModuleType) -> bool:
    import torch

    layer = torch.nn.Identity()
    probe = recorder.ModuleOutputsRecorder('')
    probe.initialize(layer)
    with probe:
        layer(torch.ones(1)).zero_()
    try:
        probe.get_record_data()
    except ValueError:
        return False
    return True


def refuse_overwritten_records(recorder: ModuleType) -> None:
    base = recorder.ModuleOutputsRecorder.__mro__[1]
    get_record_data, prepare = base.get_record_data, recorder.ModuleInputsRecorder.prepare_from_model

    @functools.wraps(base.reset_data_buffer)
    def reset_data_buffer(self) -> None:
        self._data_buffer = Records()

    @functools.wraps(get_record_data)
    def checked(self, record_idx: int = 0, data_idx: int | None = None) -> Any:
        data = get_record_data(self, record_idx, data_idx)
        if isinstance(self.data_buffer, Records) and self.data_buffer.is_overwritten(record_idx, data):
            raise ValueError(
                f'the record of {self.source!r} was overwritten before a loss read it, by an operation in place such '
                'as F.relu_(x) or x += y: record another layer, or replace the operation by one that returns a new '
                'tensor, such as F.relu(x) or x = x + y'
            )
        return data

    @functools.wraps(prepare)
    def prepare_from_model(self, model: Any = None) -> None:
        prepare(self, model)
        model.get_submodule(self.source).register_forward_pre_hook(functools.partial(note_inputs, self))

    base.reset_data_buffer, base.get_record_data = reset_data_buffer, checked
    recorder.ModuleInputsRecorder.prepare_from_model = prepare_from_model
    for kind, name in (
        (recorder.FunctionInputsRecorder, 'func_record_wrapper'),
        (recorder.MethodInputsRecorder, 'method_record_wrapper'),
    ):
        setattr(kind, name, noting_wrapper(getattr(kind, name)))


def note_inputs(recorder: Any, module: Any, inputs: tuple) -> None:
    if recorder.recording:
        recorder.data_buffer.note(inputs)


def noting_wrapper(wrapper: Callable) -> Callable:
    @functools.wraps(wrapper)
    def record_wrapper(self, function: Callable, data_buffer: Records) -> Callable:
        @functools.wraps(function)
        def noted(*args, **kwargs):
            data_buffer.note((args, kwargs))
            return function(*args, **kwargs)

        return wrapper(self, noted, data_buffer)

    return record_wrapper


FIXES = (
    Fix(
        'inplace off',
        'mmrazor.models.algorithms.base',
        'MMRazor turns inplace off, so that recorders keep what a layer returned. It searches the layers in an '
        'OrderedDict, but Module._modules is a dict: it finds none, and an activation overwrites the record of the '
        'layer before it. With any torch, it leaves out the activation of mmcv.ConvModule',
        'mmrazor 1.0.0 with torch >= 2.13',
        'MMRazor walks modules()',
        leaves_inplace_on,
        turn_inplace_off,
    ),
    Fix(
        'recursion limit',
        'mmrazor.models',
        'importing MMRazor sets the recursion limit to 2^20 for its pruning: with it, deeply nested files and endless '
        'recursions end in a segmentation fault',
        'mmrazor 1.0 with Python < 3.12',
        'MMRazor sets the limit where it prunes',
        allows_endless_recursion,
        restore_the_limit,
    ),
    Fix(
        'overwritten records',
        'mmrazor.models.task_modules.recorder',
        'a recorder keeps the tensor itself. A later operation in place, such as F.relu_, overwrites it, and the loss '
        'gets other values without a word. Now it is an error that names the recorder',
        'mmrazor 1.0.0',
        'MMRazor compares the versions',
        returns_overwritten_records,
        refuse_overwritten_records,
    ),
)
