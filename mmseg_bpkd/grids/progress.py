"""How far the runs of a grid are, and how long they still take."""

import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from mmseg_bpkd.fileio.data_files import read_json

from .grid_file import Run
from .worker import progress_file


@dataclass
class Job:
    """A run, and how far it is.

    Args:
        run: the run.
        steps: number of steps of the whole training.
        step: number of steps done.
        seconds: what these took.
        slot: number of the job among those that run at the same time.
        code: exit code, once it ended; 0 for runs that were finished before.
    """

    run: Run
    steps: int
    step: int = 0
    seconds: float = 0.0
    slot: int = 0
    code: int | None = None

    def read_progress(self, folder: str) -> None:
        with suppress(FileNotFoundError, ValueError, KeyError):  # it only estimates the time left
            progress = read_json(progress_file(folder))
            self.step, self.steps, self.seconds = (progress[key] for key in ('step', 'steps', 'seconds'))


def seconds_left(jobs: Sequence[Job], parallel: int) -> float | None:
    """Estimates the time until all runs have ended, from the time per step of runs of the same name.

    Args:
        jobs: all runs. Those that have ended only tell the time per step.
        parallel: how many runs are trained at the same time.

    Returns:
        Seconds; None if no step was measured yet. Names without a step are estimated by the mean of the others.
    """
    steps: dict[str, int] = defaultdict(int)
    seconds: dict[str, float] = defaultdict(float)
    for job in jobs:
        steps[job.run.name] += job.step
        seconds[job.run.name] += job.seconds
    rates = {name: seconds[name] / steps[name] for name in steps if steps[name] and seconds[name]}
    if not rates:
        return None
    mean = sum(rates.values()) / len(rates)
    left = [(job.steps - job.step) * rates.get(job.run.name, mean) for job in jobs if job.code is None]
    return max([sum(left) / parallel, *left])


def duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes == 0:
        return 'less than 1 min'
    return f'{minutes // 60} h {minutes % 60:02d} min' if minutes >= 60 else f'{minutes} min'


class ProgressLine:
    """One line about the whole grid. On a terminal it is rewritten; elsewhere it is printed once a minute."""

    def __init__(self) -> None:
        self.terminal = sys.stdout.isatty()
        self.printed = time.monotonic()

    def say(self, text: str) -> None:
        """Prints something that stays."""
        print(f'\r\033[K{text}' if self.terminal else text, flush=True)

    def show(self, text: str) -> None:
        if self.terminal:
            width = shutil.get_terminal_size().columns - 1
            print(f'\r\033[K{text[:width]}', end='', flush=True)
        elif time.monotonic() - self.printed > 60:
            print(text, flush=True)
            self.printed = time.monotonic()
