"""What a checkpoint may hold besides tensors: NumPy values without pointers, and the histories of MMEngine's logs."""

import io
import pickle

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

import mmseg_bpkd.engine  # noqa: F401


class Call:
    """Unpickles as the result of a call, with a state."""

    def __init__(self, *reduced) -> None:
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


def load(value):
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file)


@pytest.mark.parametrize(
    'value',
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.arange(3, dtype='>i2'),
        np.array(2.5),
        np.array(['a', 'boat']),
        np.array([True, False]),
        np.array([1 + 2j]),
        np.float64(0.1),
        np.int32(-3),
        np.bool_(True),
        np.str_('text'),
        np.array([3], '>f4')[0],
    ],
    ids=lambda value: f'{type(value).__name__} {value.dtype.str}',
)
def test_arrays_and_values_are_those_that_were_saved(value):
    loaded = load(load(dict(value=value)))['value']  # a resumed run saves them again
    assert (
        isinstance(loaded, type(value)) and loaded.dtype.str[1:] == value.dtype.str[1:] and loaded.shape == value.shape
    )
    np.testing.assert_array_equal(loaded, value)


DTYPE = Call(np.dtype, ('f8', False, True))
REFERENCES = Call(np.dtype, ('f8', False, True), (3, '|', None, None, None, -1, -1, 63))  # claims to hold objects
RECONSTRUCT = np.zeros(1).__reduce__()[0]
SCALAR = np.float64(1).__reduce__()[0]


def array(dtype, data: bytes = b'AAAAAAAA', shape: tuple = (1,)) -> Call:
    return Call(RECONSTRUCT, (np.ndarray, (0,), b'b'), (1, shape, dtype, False, data))


@pytest.mark.parametrize(
    'attack',
    [
        Call(np.ndarray, ((1,), 'O', b'AAAAAAAA')),
        Call(np.ndarray, ((1,), np.dtype('f8'), b'AAAAAAAA')),
        Call(np.ndarray, ((10**6,), 'f8')),
        Call(np.ndarray.__new__, (np.ndarray, (1,), 'O', b'AAAAAAAA')),
        np.array([None]),
        np.array([(1, 2)], [('a', 'i4'), ('b', 'O')]),
        np.zeros(1, 'V8'),
        array(Call(np.dtype, ('O', False, True))),
        array(Call(np.dtype, ('f8,O', False, True))),
        array(Call(np.dtype, ('3f8', False, True)), bytes(24)),
        array(Call(np.dtype, ('U0', False, True)), b'', (10**9,)),
        array('f8'),
        array(None),
        array(DTYPE, b'AAAA'),
        array(DTYPE, shape=(-1, -1)),
        array(DTYPE, shape=(2**32, 2**32)),
        Call(SCALAR, (Call(np.dtype, ('O', False, True)), b'AAAAAAAA')),
        Call(SCALAR, (DTYPE, b'AAAA')),
        Call(SCALAR, (None, b'AAAAAAAA')),
    ],
)
def test_what_could_turn_bytes_into_pointers_is_refused(attack):
    with pytest.raises((pickle.UnpicklingError, TypeError, ValueError)):
        load(attack)


def test_the_flags_of_a_type_cannot_be_set():
    """With flags of a type of objects, NumPy would take each number for a pointer."""
    loaded = load(array(REFERENCES))
    assert loaded.dtype == np.float64 and not loaded.dtype.hasobject
    np.testing.assert_array_equal(loaded, np.frombuffer(b'AAAAAAAA'))


def test_no_function_or_type_of_numpy_is_allowed():
    allowed = [entry[0] if isinstance(entry, tuple) else entry for entry in torch.serialization.get_safe_globals()]
    assert len(allowed) >= 6
    assert [entry for entry in allowed if getattr(entry, '__module__', '').split('.')[0] == 'numpy'] == []


def test_a_history_is_that_which_was_saved():
    history = HistoryBuffer([1.0, 3.0], [1, 1], max_length=2)
    loaded = load(load(history))
    assert loaded.mean() == 2 and loaded.statistics('max') == 3
    loaded.update(5.0)
    assert loaded.data[0].tolist() == [3.0, 5.0]


def test_a_history_does_not_change_the_methods_of_all_histories():
    history = HistoryBuffer([1.0, 3.0], [1, 1])
    state = dict(history.__dict__, statistics_methods=dict(min=HistoryBuffer.max))
    load(Call(HistoryBuffer, (), state))
    assert history.statistics('min') == 1
