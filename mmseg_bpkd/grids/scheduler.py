"""Starts the runs of a grid, some at a time, and reports what becomes of them."""

import json
import os
import os.path as osp
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import torch

from .grid import Grid, Run
from .worker import ROOT, command, progress_file

LOG = 'log.txt'
SECONDS_TO_STOP = 60  # before a process is killed


class LocalProcess:
    """A run in a process on this machine.

    Args:
        arguments: the command.
        log: file that its output is appended to.
        slot: number of the process among those that run at the same time.
        jobs: how many run at the same time. They share the cores, and take turns on the GPUs.
    """

    def __init__(self, arguments: Sequence[str], log: str, slot: int, jobs: int) -> None:
        with open(log, 'ab') as file:
            self.process = subprocess.Popen(
                arguments, stdout=file, stderr=subprocess.STDOUT, env=local_environment(slot, jobs)
            )

    def poll(self) -> Optional[int]:
        """Returns the exit code; None while the process runs."""
        return self.process.poll()

    def stop(self) -> None:
        self.process.terminate()

    def wait(self) -> None:
        """Waits until a stopped process has ended. Kills it if this takes too long."""
        try:
            self.process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def local_environment(slot: int, jobs: int) -> Dict[str, str]:
    """The environment of a process: Python path, its share of the cores, and one GPU."""
    environment = dict(os.environ, PYTHONPATH=python_path())
    if jobs > 1:
        environment.setdefault('OMP_NUM_THREADS', str(max(1, available_cores() // jobs)))
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    gpus = visible.split(',') if visible else [str(i) for i in range(torch.cuda.device_count())]
    if len(gpus) > 1:
        environment['CUDA_VISIBLE_DEVICES'] = gpus[slot % len(gpus)]
    return environment


def python_path() -> str:
    return os.pathsep.join(filter(None, [ROOT, os.environ.get('PYTHONPATH')]))


def available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


class SubmititJob:
    """A run in a job of submitit.

    Args:
        executor: an executor of submitit.
        arguments: the command.
        log: file that its output is appended to.
    """

    def __init__(self, executor, arguments: Sequence[str], log: str) -> None:
        from submitit.helpers import Checkpointable

        # Defined here, so that it is pickled whole and the job need not import this file.
        class Command(Checkpointable):
            """Runs the command. A job that ran out of time or was preempted is submitted again, and resumes."""

            def __call__(self) -> None:
                environment = dict(os.environ, PYTHONPATH=path)
                with open(log, 'ab') as file:
                    process = subprocess.Popen(arguments, stdout=file, stderr=subprocess.STDOUT, env=environment)
                try:
                    code = process.wait()
                except BaseException:  # of submitit, which ends the job: let the training save a checkpoint
                    process.terminate()
                    process.wait()
                    raise
                if code:
                    raise RuntimeError(f'exit code {code}, see {log}')

        path = python_path()
        self.job = executor.submit(Command())

    def poll(self) -> Optional[int]:
        """Returns the exit code; None while the job waits or runs."""
        return int(self.job.exception() is not None) if self.job.done() else None

    def stop(self) -> None:
        self.job.cancel()

    def wait(self) -> None:
        pass  # the cluster ends it


def submitit_executor(folder: str, parameters: dict):
    """An executor of submitit: Slurm if this machine has it, else local processes.

    Args:
        folder: for the files of submitit.
        parameters: of its `AutoExecutor.update_parameters`, such as `slurm_partition`; `cluster` chooses the executor.

    Raises:
        ModuleNotFoundError: if submitit is not installed.
    """
    try:
        import submitit
    except ImportError:
        raise ModuleNotFoundError('--submitit needs the package submitit: run pip install submitit') from None
    executor = submitit.AutoExecutor(folder=folder, cluster=parameters.pop('cluster', None))
    executor.update_parameters(**parameters)
    return executor


@dataclass
class Job:
    """A run that is not finished, and how far it is.

    Args:
        run: the run.
        steps: number of steps of the whole training.
        step: number of steps done.
        seconds: what these took.
        handle: `LocalProcess` or `SubmititJob`, once it was started.
        slot: number of the job among those that run at the same time.
        code: exit code, once it ended.
    """

    run: Run
    steps: int
    step: int = 0
    seconds: float = 0.0
    handle: object = None
    slot: int = 0
    code: Optional[int] = None

    @property
    def runs(self) -> bool:
        return self.handle is not None and self.code is None

    def read_progress(self, folder: str) -> None:
        try:
            with open(progress_file(folder), encoding='utf-8') as file:
                progress = json.load(file)
        except FileNotFoundError:
            return
        self.step, self.seconds = progress['step'], progress['seconds']


def seconds_left(jobs: Sequence[Job], known: Sequence[Tuple[str, int, float]], parallel: int) -> Optional[float]:
    """Estimates the time until all runs have ended, from the time per step of runs of the same name.

    Args:
        jobs: those that have not ended.
        known: name, steps and seconds of runs that ended.
        parallel: how many runs are trained at the same time.

    Returns:
        Seconds; None if no step was measured yet. Names without a step are estimated by the mean of the others.
    """
    steps, seconds = defaultdict(int), defaultdict(float)
    for name, step, spent in [*known, *((job.run.name, job.step, job.seconds) for job in jobs)]:
        steps[name] += step
        seconds[name] += spent
    rates = {name: seconds[name] / steps[name] for name in steps if steps[name]}
    if not rates:
        return None
    mean = sum(rates.values()) / len(rates)
    left = [(job.steps - job.step) * rates.get(job.run.name, mean) for job in jobs]
    return max([sum(left) / parallel, *left])


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


Start = Callable[[List[str], str, int], object]


def run_grid(grid: Grid, parallel: int, start: Start, poll_seconds: float = 1.0) -> int:
    """Trains and tests all runs that are not finished.

    Args:
        grid: the grid.
        parallel: how many runs are trained at the same time.
        start: starts a command, given its arguments, its log and its slot. Returns a `LocalProcess` or `SubmititJob`.
        poll_seconds: how often to look at the processes.

    Returns:
        The number of runs that crashed.

    Raises:
        FileNotFoundError: before the first start, if a config does not exist.
        ValueError: before the first start, if a run was started earlier with other settings.
        KeyboardInterrupt: if the process is interrupted or terminated. The runs are stopped first.
    """
    grid.check_earlier_runs()
    finished = [run for run in grid.runs if grid.is_finished(run)]
    steps = {run.name: run.load().train_cfg.max_iters for run in {run.name: run for run in grid.runs}.values()}
    jobs = [Job(run, steps[run.name]) for run in grid.runs if not grid.is_finished(run)]
    known = [_cost(grid.result(run), run.name) for run in finished]
    line = ProgressLine()
    line.say(f'{len(grid.runs)} runs, {len(finished)} finished before. Results: {grid.results}')
    waiting = list(reversed(jobs))
    with _interrupted_by_sigterm():
        try:
            while waiting or any(job.runs for job in jobs):
                running = [job for job in jobs if job.runs]
                if waiting and len(running) < parallel:
                    job = waiting.pop()
                    job.slot = min(set(range(parallel)) - {other.slot for other in running})
                    _start(job, grid, start)
                    continue
                for job in running:
                    job.read_progress(grid.folder(job.run))
                    job.code = job.handle.poll()
                    if job.code is not None:
                        known.append((job.run.name, job.step, job.seconds))
                        line.say(_outcome(job, grid))
                line.show(_summary(grid, jobs, known, parallel))
                time.sleep(poll_seconds if any(job.runs for job in jobs) else 0)
        except BaseException:
            running = [job.handle for job in jobs if job.runs]
            for handle in running:
                handle.stop()
            with suppress(OSError):  # of a pipe whose reader has ended
                line.say('stopping; start the grid again to resume')
            for handle in running:
                handle.wait()
            raise
    crashed = [job.run.id for job in jobs if job.code != 0]
    line.say(f'{len(grid.runs) - len(crashed)} of {len(grid.runs)} runs are finished')
    if crashed:
        line.say(f'{len(crashed)} crashed: {", ".join(crashed)}. Start the grid again to resume them')
    return len(crashed)


def _start(job: Job, grid: Grid, start: Start) -> None:
    folder = grid.folder(job.run)
    os.makedirs(folder, exist_ok=True)
    if osp.isfile(progress_file(folder)):  # of an earlier start, which may have been ahead of its last checkpoint
        os.remove(progress_file(folder))
    log = osp.join(folder, LOG)
    open(log, 'ab').close()  # exists even if the command cannot start
    job.handle = start(command(grid, job.run), log, job.slot)


def _cost(result: str, name: str) -> Tuple[str, int, float]:
    with open(result, encoding='utf-8') as file:
        record = json.load(file)
    return name, record.get('steps', 0), record.get('wall_clock_s', 0.0)


def _outcome(job: Job, grid: Grid) -> str:
    if job.code == 0:
        return f'{job.run.id} finished'
    log = osp.join(grid.folder(job.run), LOG)
    with open(log, encoding='utf-8', errors='replace') as file:
        lines = file.read().strip().splitlines()
    return f'{job.run.id} CRASHED with exit code {job.code}: {lines[-1] if lines else "no output"}\n    log: {log}'


def _summary(grid: Grid, jobs: List[Job], known: list, parallel: int) -> str:
    crashed = sum(job.code not in (0, None) for job in jobs)
    finished = len(grid.runs) - len(jobs) + sum(job.code == 0 for job in jobs)
    running = ', '.join(f'{job.run.id} {100 * job.step // job.steps} %' for job in jobs if job.runs)
    left = seconds_left([job for job in jobs if job.code is None], known, parallel)
    return ' | '.join(
        filter(
            None,
            [
                f'{finished}/{len(grid.runs)} finished',
                f'{crashed} crashed' if crashed else '',
                'time left unknown' if left is None else f'{duration(left)} left',
                running,
            ],
        )
    )


def duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f'{minutes // 60} h {minutes % 60:02d} min' if minutes >= 60 else f'{minutes} min'


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Makes SIGTERM raise KeyboardInterrupt, as Ctrl-C does, so that the runs are stopped, too."""

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
