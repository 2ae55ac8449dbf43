"""NumPy arrays and values in checkpoints, of numbers and texts only.

These stand in for the functions of NumPy that a pickle names. NumPy's own take raw memory and any dtype, so that a
checkpoint could turn its bytes into pointers.
"""

import math
import pickle

import numpy as np

KINDS = '?biufcSU'  # kinds of dtypes whose values are no pointers


class DType:
    """In place of `numpy.dtype`. A pickle gives it the kind and the size, then, as its state, the byte order."""

    def __init__(self, name: str, *_) -> None:
        try:
            dtype = np.dtype(name) if type(name) is str else None
        except TypeError:
            dtype = None
        if dtype is None or dtype.kind not in KINDS or not dtype.itemsize:
            raise pickle.UnpicklingError(
                f'the checkpoint has a NumPy value of type {name!r}, but only numbers, bool and texts are allowed'
            )
        self.dtype: np.dtype = dtype

    def __setstate__(self, state: tuple) -> None:
        if state[1] in ('<', '>'):
            self.dtype = self.dtype.newbyteorder(state[1])


class Array(np.ndarray):
    """In place of `numpy.ndarray`. It is pickled as a plain array."""

    def __new__(cls, *_):
        raise pickle.UnpicklingError('the checkpoint builds a NumPy array from raw memory, which is not allowed')

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, data = state
        if any(type(extent) is not int or extent < 0 for extent in shape):
            raise pickle.UnpicklingError(f'the checkpoint has a NumPy array of the shape {shape!r}')
        checked, data = _checked(dtype, data, math.prod(shape))
        super().__setstate__((1, shape, checked, bool(is_fortran), data))  # type: ignore[arg-type]

    def __reduce_ex__(self, protocol):
        return self.view(np.ndarray).__reduce_ex__(protocol)


def reconstruct(*_) -> Array:
    """In place of `numpy.core.multiarray._reconstruct`. The state, which follows, has the type and the shape."""
    return np.ndarray.__new__(Array, 0)


def scalar(dtype: DType, data: bytes) -> np.generic:
    """In place of `numpy.core.multiarray.scalar`."""
    checked, data = _checked(dtype, data, 1)
    return np.frombuffer(data, checked)[0]


def _checked(dtype: DType, data: bytes | str, size: int) -> tuple[np.dtype, bytes]:
    data = data.encode('latin1') if isinstance(data, str) else data  # empty bytes of Python 2 and 3 differ
    if type(dtype) is not DType or type(data) is not bytes or len(data) != size * dtype.dtype.itemsize:
        raise pickle.UnpicklingError('the checkpoint has a NumPy array whose type or size does not fit its data')
    return dtype.dtype, data
