"""Alternating timing and peak memory, on a GPU if there is one, else on the CPU (Linux)."""

import ctypes
import gc
import multiprocessing
import re
import time
from collections.abc import Callable
from itertools import accumulate
from statistics import median

import torch
from torch.profiler import ProfilerActivity, profile, record_function

DEVICE = torch.device('cuda' if torch.cuda.is_available() else 'cpu')


def milliseconds_in_turn(calls: dict[str, Callable], runs: int) -> dict[str, list[float]]:
    times = {name: [] for name in calls}
    for counted in [False] + [True] * runs:
        for name, call in calls.items():
            taken = milliseconds(call)
            if counted:
                times[name].append(taken)
    return times


def milliseconds(call: Callable) -> float:
    _synchronize()
    began = time.perf_counter()
    call()
    _synchronize()
    return 1000 * (time.perf_counter() - began)


def ratio(times: list[float], reference: list[float]) -> dict[str, float]:
    """Median milliseconds, and the ratio to the reference in each turn: median, minimum and maximum."""
    ratios = [a / b for a, b in zip(times, reference)]
    return dict(ms=median(times), ratio=median(ratios), ratio_least=min(ratios), ratio_most=max(ratios))


def peak_growth(make: Callable[[], Callable], warm_up: Callable[[], object] = int) -> float:
    """Peak memory in MiB of a call and of the objects that `make` creates for it.

    On a GPU: the growth of the memory that the allocator gives out. Else: the growth of the resident set of a new
    process, to which both arguments are pickled. `warm_up` is called first and does not count.
    """
    if DEVICE.type == 'cuda':
        warm_up()
        return _peak_growth_on_gpu(make)
    with multiprocessing.get_context('spawn').Pool(1, maxtasksperchild=1) as pool:
        return pool.apply(_peak_growth, (make, warm_up))


def _peak_growth(make: Callable, warm_up: Callable) -> float:
    warm_up()
    trim = ctypes.CDLL(None).malloc_trim
    trim(0)  # returns freed memory, which would be reused without being counted
    before = _kilobytes('VmRSS')
    call = make()
    trim(0)
    with open('/proc/self/clear_refs', 'w') as file:
        file.write('5')  # resets the peak
    call()
    return (_kilobytes('VmHWM') - before) / 1024


def _peak_growth_on_gpu(make: Callable) -> float:
    gc.collect()
    _synchronize()
    before = torch.cuda.memory_allocated()
    call = make()
    _synchronize()
    torch.cuda.reset_peak_memory_stats()
    call()
    _synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def peak_of_tensors(make: Callable[[], Callable]) -> float:
    """Peak memory in MiB of the CPU tensors during a call, including the objects that `make` creates.

    This is what a GPU's allocator would count. It excludes the work space of libraries and the free heap.
    """
    gc.collect()  # garbage freed during the call would be subtracted
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call = make()
        with record_function('the call'):
            call()
    events = sorted(profiler.profiler.kineto_results.events(), key=lambda event: event.start_ns())
    began = next(event.start_ns() for event in events if event.name() == 'the call')
    changes = [event for event in events if event.name() == '[memory]']
    totals = accumulate(event.nbytes() for event in changes)
    return max(total for total, event in zip(totals, changes) if event.start_ns() >= began) / 2**20


def _synchronize() -> None:
    if DEVICE.type == 'cuda':
        torch.cuda.synchronize()


def _kilobytes(what: str) -> int:
    """Reads /proc, because `resource.getrusage` inherits the peak of the parent process."""
    with open('/proc/self/status') as file:
        return int(re.search(rf'{what}:\s+(\d+) kB', file.read())[1])
