"""A hook that records what a training run costs and how its validation develops."""

import json
import math
import resource
import sys
import time

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmseg_bpkd.evaluation.evaluate import metrics_only
from mmseg_bpkd.fileio.writing import replacing

NUMBERS = ('training_seconds', 'total_seconds', 'peak_memory')
TABLES = ('curve', 'starts')


class RunRecorder(Hook):
    """Records time, peak memory and the validation curve of a run. Checkpoints store them, so resuming continues them.

    Steps after the last checkpoint of an interrupted run are repeated, and count once.

    Args:
        progress: a file that is updated at most once per second, with the number of steps done and their time.
        start: what to record of this start, such as the device.

    Attributes:
        training_seconds: time of the steps, of loading their data and of writing checkpoints.
        total_seconds: also validation.
        peak_memory: MiB. On a GPU, its memory allocated by tensors; on a CPU, the resident memory of the process.
        curve: one dict per validation, with `step`, `seconds` (training time until then) and the metrics.
        starts: `start` of each start whose steps count, with its first `step`.
    """

    priority = 'LOW'  # before the CheckpointHook, which writes what is recorded here

    def __init__(self, progress: str, start: dict | None = None) -> None:
        self.progress = progress
        self.start = start or {}
        self.training_seconds = self.total_seconds = self.peak_memory = 0.0
        self.curve: list[dict] = []
        self.starts: list[dict] = []
        self.resumed: dict | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self.resumed = checkpoint.get('meta', {}).get('run_record')

    def before_train(self, runner: Runner) -> None:
        if runner.iter > 0 and self.resumed:  # otherwise the checkpoint only gave the initial weights
            for name, value in _checked(self.resumed, runner._load_from).items():
                setattr(self, name, value)
        self.starts = [*self.starts, dict(step=runner.iter, **self.start)]
        self.step_began = self.counted_until = time.perf_counter()
        self.shown = 0.0
        self._show_progress(runner.iter, runner.max_iters)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        now = time.perf_counter()
        self.training_seconds += now - self.step_began
        self.step_began = now
        self._update()
        if now - self.shown > 1:
            self._show_progress(runner.iter + 1, runner.max_iters)
            self.shown = now

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        point = dict(step=runner.iter, seconds=round(self.training_seconds, 3), **metrics_only(metrics or {}))
        self.curve = [earlier for earlier in self.curve if earlier['step'] != runner.iter] + [point]
        self.step_began = time.perf_counter()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self._update()
        checkpoint['meta']['run_record'] = self._state()

    def after_train(self, runner: Runner) -> None:
        self._update()
        self._show_progress(runner.iter, runner.max_iters)

    def _state(self) -> dict:
        return {name: getattr(self, name) for name in (*NUMBERS, *TABLES)}

    def _update(self) -> None:
        now = time.perf_counter()
        self.total_seconds += now - self.counted_until
        self.counted_until = now
        self.peak_memory = max(self.peak_memory, peak_memory())

    def _show_progress(self, step: int, steps: int) -> None:
        with replacing(self.progress, flush=False) as part, open(part, 'w', encoding='utf-8') as file:
            json.dump(dict(step=step, steps=steps, seconds=self.total_seconds), file)


def _checked(record: dict, source: str) -> dict:
    """Returns what a checkpoint may set of a recorder.

    Raises:
        ValueError: if a value is not what `RunRecorder` wrote.
    """
    known = {name: record[name] for name in (*NUMBERS, *TABLES) if name in record} if isinstance(record, dict) else None
    if known is None or not all(
        _is_number(value) and 0 <= value < math.inf if name in NUMBERS else _is_table(value)
        for name, value in known.items()
    ):
        raise ValueError(
            f'{source} has a meta.run_record that no grid wrote: expected numbers of seconds and MiB, and lists of '
            'dicts of numbers and texts. Resume from a checkpoint of this grid, or remove the folder of the run'
        )
    return known


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def _is_table(value: object) -> bool:
    return type(value) is list and all(
        type(row) is dict and _is_number(row.get('step')) and all(map(_is_cell, (*row, *row.values()))) for row in value
    )


def _is_cell(value: object) -> bool:
    return value is None or type(value) in (int, float, str)


def peak_memory() -> float:
    """The peak memory so far in MiB: allocated on the GPU if there is one, else resident in this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == 'darwin' else 2**10)  # macOS counts bytes, Linux KiB
