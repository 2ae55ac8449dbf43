"""Types that checkpoints of MMEngine hold. Safe loading stays on."""

import importlib
import pickle
from types import ModuleType

from .table import Fix

STATISTICS = ('min', 'max', 'mean', 'current')


def loads_safely(_: ModuleType) -> bool:
    import torch

    return hasattr(torch.serialization, 'add_safe_globals')


def allow_types(history_buffer: ModuleType) -> None:
    import numpy as np
    import torch

    owner_of_statistics = history_buffer.HistoryBuffer

    def history_getattr(owner, name):  # never the real getattr
        if owner is owner_of_statistics and name in STATISTICS:
            return getattr(owner, name)
        raise pickle.UnpicklingError(
            f'the checkpoint reads the attribute {name!r} of {owner!r}, but only min, max, mean and current of '
            'HistoryBuffer are allowed: use a checkpoint that MMEngine wrote'
        )

    multiarray = importlib.import_module('numpy._core.multiarray' if hasattr(np, '_core') else 'numpy.core.multiarray')
    torch.serialization.add_safe_globals(
        [
            owner_of_statistics,
            (history_getattr, 'builtins.getattr'),
            np.ndarray,
            np.dtype,
            (multiarray._reconstruct, 'numpy.core.multiarray._reconstruct'),
            (multiarray._reconstruct, 'numpy._core.multiarray._reconstruct'),
            (multiarray.scalar, 'numpy.core.multiarray.scalar'),
            (multiarray.scalar, 'numpy._core.multiarray.scalar'),
            *{type(np.dtype(kind)) for kind in ('bool', 'int32', 'int64', 'uint8', 'float32', 'float64')},
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
