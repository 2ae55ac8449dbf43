"""Types that checkpoints of MMEngine hold. Safe loading stays on."""

import pickle
from types import ModuleType

from .table import Fix

STATISTICS = ('min', 'max', 'mean', 'current')


def loads_safely(_: ModuleType) -> bool:
    import torch

    return hasattr(torch.serialization, 'add_safe_globals')


def allow_types(history_buffer: ModuleType) -> None:
    import torch

    from . import numpy_values

    buffer = history_buffer.HistoryBuffer

    def history_getattr(owner, name):  # never the real getattr
        if owner is buffer and name in STATISTICS:
            return getattr(owner, name)
        raise pickle.UnpicklingError(
            f'the checkpoint reads the attribute {name!r} of {owner!r}, but only min, max, mean and current of '
            'HistoryBuffer are allowed: use a checkpoint that MMEngine wrote'
        )

    def set_history(self, state: dict) -> None:  # MMEngine's also takes the methods of the class from the state
        self.__init__(state['_log_history'], state['_count_history'], state['max_length'])

    buffer.__setstate__ = set_history
    torch.serialization.add_safe_globals(
        [
            buffer,
            (history_getattr, 'builtins.getattr'),
            (numpy_values.Array, 'numpy.ndarray'),
            (numpy_values.DType, 'numpy.dtype'),
            (numpy_values.reconstruct, 'numpy.core.multiarray._reconstruct'),
            (numpy_values.reconstruct, 'numpy._core.multiarray._reconstruct'),
            (numpy_values.scalar, 'numpy.core.multiarray.scalar'),
            (numpy_values.scalar, 'numpy._core.multiarray.scalar'),
        ]
    )


FIXES = (
    Fix(
        'types in checkpoints',
        'mmengine.logging.history_buffer',
        'torch.load refuses the HistoryBuffer and the NumPy values that MMEngine writes, so that resuming fails',
        'mmengine 0.10 with torch >= 2.6',
        'MMEngine writes plain values',
        loads_safely,
        allow_types,
    ),
)
