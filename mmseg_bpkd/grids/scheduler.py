"""Starts the runs of a grid, some at a time, and reports what becomes of them."""

import os
import os.path as osp
import shlex
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from mmseg_bpkd.engine.hooks.save_on_signal import ignores_hangup
from mmseg_bpkd.fileio.work_dir import is_in_use

from .grid_file import Grid, Run
from .processes import Process
from .progress import Job, ProgressLine, duration, seconds_left
from .run_results import read_result
from .worker import command, progress_file

LOG = 'log.txt'
Start = Callable[[list[str], str, int], Process]


def run_grid(grid: Grid, parallel: int, start: Start, poll_seconds: float = 1.0) -> int:
    """Trains and tests all runs that are not finished.

    Args:
        grid: the grid.
        parallel: how many runs are trained at the same time.
        start: starts a command, given its arguments, its log and its slot.
        poll_seconds: how often to look at the processes.

    Returns:
        The number of runs that crashed.

    Raises:
        FileNotFoundError: before the first start, if a config does not exist.
        ValueError: before the first start, if a run was started earlier with other settings.
        KeyboardInterrupt: if the process is interrupted or terminated. The runs are stopped first.
    """
    grid.check_earlier_runs()
    scheduler = Scheduler(grid, parallel, start)
    with _interrupted_by_signals():
        try:
            while not scheduler.done:
                scheduler.start_jobs()
                scheduler.poll()
                time.sleep(0 if scheduler.done else poll_seconds)
        except BaseException:
            scheduler.stop()
            raise
    return scheduler.report()


class Scheduler:
    """The jobs of a grid. The arguments are those of `run_grid`."""

    def __init__(self, grid: Grid, parallel: int, start: Start) -> None:
        self.grid, self.parallel, self.start = grid, parallel, start
        loops = {name: run.load().train_cfg for name, run in {run.name: run for run in grid.runs}.items()}
        steps = {name: loop.get('max_iters', 1) for name, loop in loops.items()}  # by epochs, a run tells it later
        self.jobs = [_finished_job(run, grid) or Job(run, steps[run.name]) for run in grid.runs]
        self.waiting = [job for job in self.jobs if job.code is None]
        self.running: list[tuple[Job, Process]] = []
        self.elsewhere: set[str] = set()  # runs that another process was seen to train
        self.line = ProgressLine()
        finished = len(self.jobs) - len(self.waiting)
        self.line.say(f'{len(self.jobs)} runs, {finished} finished before. Results: {grid.results}')

    @property
    def done(self) -> bool:
        return not self.waiting and not self.running

    def start_jobs(self) -> None:
        """Starts jobs until `parallel` of them run. Those that another process trains have to wait."""
        for job in list(self.waiting):
            if len(self.running) == self.parallel:
                break
            if self._is_left_to_others(job):
                continue
            self.waiting.remove(job)
            job.slot = min(set(range(self.parallel)) - {other.slot for other, _ in self.running})
            folder = self.grid.folder(job.run)
            os.makedirs(folder, exist_ok=True)
            with suppress(FileNotFoundError):  # of an earlier start, which may have been ahead of its last checkpoint
                os.remove(progress_file(folder))
            log = osp.join(folder, LOG)
            open(log, 'ab').close()  # exists even if the command cannot start
            self.running.append((job, self.start(command(self.grid, job.run), log, job.slot)))

    def _is_left_to_others(self, job: Job) -> bool:
        """Whether a run that waits is trained, or was finished, by another process."""
        finished = _finished_job(job.run, self.grid)
        if finished:
            job.step, job.seconds, job.code = finished.step, finished.seconds, 0
            self.waiting.remove(job)
            self.line.say(f'{job.run.id} was finished by another process')
        elif is_in_use(self.grid.folder(job.run)):
            if job.run.id not in self.elsewhere:
                self.line.say(f'{job.run.id} is trained by another process: waiting for it')
            self.elsewhere.add(job.run.id)
        else:
            return False
        return True

    def poll(self) -> None:
        """Looks how far the running jobs are, and reports those that have ended."""
        for job, process in list(self.running):
            job.read_progress(self.grid.folder(job.run))
            job.code = process.poll()
            if job.code is None:
                continue
            self.running.remove((job, process))
            if job.code and (self.grid.is_finished(job.run) or is_in_use(self.grid.folder(job.run))):
                job.code = None  # another process was faster, after this one was started
                self.waiting.append(job)
            else:
                self.line.say(self._outcome(job))
        self.line.show(self._summary())

    def stop(self) -> None:
        """Stops all running jobs, and waits for their end."""
        for _, process in self.running:
            process.stop()
        with suppress(OSError):  # of a pipe whose reader has ended
            self.line.say('stopping; start the grid again to resume')
        for _, process in self.running:
            process.wait()

    def report(self) -> int:
        """Says what the runs reached and which crashed, and returns the number of these."""
        crashed = [job.run.id for job in self.jobs if job.code != 0]
        width = max((len(job.run.id) for job in self.jobs), default=0)
        for run in (job.run for job in self.jobs if job.code == 0 and self.grid.is_finished(job.run)):
            metrics = read_result(self.grid.result(run))['metrics']
            name = next((name for name in metrics if 'mIoU' in name), next(iter(metrics), None))
            self.line.say(f'{run.id:{width}}  ' + (f'{name} {metrics[name]:.2f}' if name else 'no metric'))
        self.line.say(f'{len(self.jobs) - len(crashed)} of {len(self.jobs)} runs are finished')
        if crashed:
            self.line.say(f'{len(crashed)} crashed: {", ".join(crashed)}. Start the grid again to resume them')
        if len(crashed) < len(self.jobs):
            self.line.say(f'Tables and plots: bpkd experiment summarize {shlex.quote(self.grid.results)}')
        return len(crashed)

    def _outcome(self, job: Job) -> str:
        if job.code == 0:
            return f'{job.run.id} finished'
        log = osp.join(self.grid.folder(job.run), LOG)
        with open(log, encoding='utf-8', errors='replace') as file:
            lines = file.read().strip().splitlines() or ['no output']
        return f'{job.run.id} CRASHED with exit code {job.code}: {lines[-1]}\n    log: {log}'

    def _summary(self) -> str:
        codes = [job.code for job in self.jobs]
        crashed = sum(code not in (0, None) for code in codes)
        left = seconds_left(self.jobs, self.parallel)
        parts = [
            f'{codes.count(0)}/{len(codes)} finished',
            f'{crashed} crashed' if crashed else '',
            'time left unknown' if left is None else f'{duration(left)} left' if left else '',
            ', '.join(f'{job.run.id} {100 * job.step // job.steps} %' for job, _ in self.running),
        ]
        return ' | '.join(filter(None, parts))


def _finished_job(run: Run, grid: Grid) -> Job | None:
    if not grid.is_finished(run):
        return None
    record = read_result(grid.result(run))
    steps = record.get('steps', 0)
    return Job(run, steps, steps, record.get('wall_clock_s', 0.0), code=0)


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Makes SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does, so that the runs are stopped, too."""

    def interrupt(*_):
        raise KeyboardInterrupt

    numbers = [signal.SIGTERM] if ignores_hangup() else [signal.SIGTERM, signal.SIGHUP]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
