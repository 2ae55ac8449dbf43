"""Processes that train a run each: on this machine, or jobs of submitit."""

import os
import subprocess
from collections.abc import Sequence
from typing import Protocol

import torch

from .worker import ROOT

SECONDS_TO_STOP = 60  # before a process is killed


class Process(Protocol):
    """A process that trains a run."""

    def poll(self) -> int | None:
        """Returns the exit code; None while the process waits or runs."""

    def stop(self) -> None:
        """Asks the process to save a checkpoint and to end."""

    def wait(self) -> None:
        """Waits until a stopped process has ended."""


# submitit's local executor cannot replace it: `cancel()` gives a run one second to save its checkpoint, and
# nothing waits for its end; a job ends after `timeout_min`; and all jobs get the same GPUs, by default none.
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

    def poll(self) -> int | None:
        return self.process.poll()

    def stop(self) -> None:
        self.process.terminate()

    def wait(self) -> None:
        try:
            self.process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def local_environment(slot: int, jobs: int) -> dict[str, str]:
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

    def poll(self) -> int | None:
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
