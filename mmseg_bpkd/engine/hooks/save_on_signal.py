"""Saving a checkpoint when a run is told to stop.

Ctrl-C sends SIGINT; Slurm and cloud providers send SIGTERM; a terminal that is closed sends SIGHUP.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable

import mmengine.runner.runner
import torch
from mmengine.dataset import worker_init_fn
from mmengine.dist import get_comm_device, is_distributed
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StoppedBySignal(SystemExit):
    """Ends the process with the exit code of shells: 143 for SIGTERM, 130 for SIGINT, 129 for SIGHUP."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


@HOOKS.register_module()
class SaveOnSignalHook(Hook):
    """On SIGTERM, SIGINT (Ctrl-C) or SIGHUP (closed terminal), finishes the step, saves a checkpoint and stops.

    - The run's `CheckpointHook` saves the checkpoint, so `--resume` continues from it.
    - A validation is broken off. Resuming repeats it.
    - With gradient accumulation, the run stops after the next update of the weights.
    - In a distributed run, it is enough that one process receives the signal. After each step, the processes start to
      exchange whether they have received one. They read the result after the next step, so none waits for it, and all
      stop after the same step.
    - A second Ctrl-C ends a run of one process at once, without a checkpoint.
    - A run under `nohup` goes on after SIGHUP.

    Raises:
        StoppedBySignal: when the checkpoint is written. It is a SystemExit.
    """

    priority = 'LOWEST'  # after the hook that saves checkpoints

    def __init__(self) -> None:
        self.received = 0
        self.agreed = 0
        self.exchange: _Exchange | None = None
        self.training = False
        self.previous: dict[int, Callable | int | None] = {}
        # The runner's data loaders look this function up when they are built. MMEngine's seam, `worker_init_fn` in the
        # config of a data loader, would have to stand in each of them, and gets neither the seed nor the rank.
        mmengine.runner.runner.default_worker_init_fn = init_worker

    def before_train(self, runner: Runner) -> None:
        self.training = True
        if threading.current_thread() is threading.main_thread():  # Python sets handlers in this thread only
            handled = [number for number in SIGNALS if number != signal.SIGHUP or not ignores_hangup()]
            self.previous = {number: signal.signal(number, self._receive) for number in handled}

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        if self._shall_stop(runner):
            self._stop(runner, runner.iter + 1)

    def before_val_epoch(self, runner: Runner) -> None:
        loader = runner.val_dataloader
        # The processes may have different numbers of batches. Each has at least this number.
        self.common_batches = len(loader.dataset) // (runner.world_size * (loader.batch_size or 1))

    def after_val_iter(self, runner: Runner, batch_idx: int, *args, **kwargs) -> None:
        if not self.training or batch_idx >= self.common_batches:
            return
        if self._shall_stop(runner):
            for hook in runner.hooks:
                if isinstance(hook, EMAHook):  # validation runs on its averaged weights: put the others back
                    hook.after_val_epoch(runner)
            self._stop(runner, runner.iter)

    def after_train(self, runner: Runner) -> None:
        self._restore()

    def _receive(self, number: int, frame: object) -> None:
        if self.received and number == signal.SIGINT and not is_distributed():
            raise KeyboardInterrupt
        self.received = max(self.received, number)

    def _shall_stop(self, runner: Runner) -> bool:
        """Sets `agreed` to the signal that any process had received at the last call: the same in all processes."""
        if not is_distributed():
            self.agreed = self.received
        elif not self.agreed:
            self.agreed = self.exchange.result() if self.exchange else 0
            self.exchange = None if self.agreed else _Exchange(self.received)
        updated = getattr(runner.optim_wrapper, 'should_update', None)  # an OptimWrapperDict cannot accumulate
        return bool(self.agreed) and (updated is None or updated())

    def _stop(self, runner: Runner, iteration: int) -> None:
        hook = next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
        if hook is None or hook.by_epoch:
            saved = 'Nothing is saved, because the run has no CheckpointHook with by_epoch=False'
        else:
            path = hook.file_backend.join_path(hook.out_dir, hook.filename_tmpl.format(iteration))
            if hook.last_ckpt != path:
                hook._save_checkpoint_with_step(runner, iteration, meta=dict(epoch=runner.epoch, iter=iteration))
            saved = f'The checkpoint is {path}. Continue with --resume'
        runner.logger.warning(f'stopped by {signal.Signals(self.agreed).name} after iteration {iteration}. {saved}')
        self._restore()
        raise StoppedBySignal(self.agreed)

    def _restore(self) -> None:
        for number, handler in self.previous.items():
            # None: a program that embeds Python has set its own, which Python cannot put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self.previous = {}


class _Exchange:
    """The maximum of a number over all processes, computed in the background."""

    def __init__(self, number: int) -> None:
        self.number = torch.tensor(number, device=get_comm_device())
        self.work = torch.distributed.all_reduce(self.number, torch.distributed.ReduceOp.MAX, async_op=True)

    def result(self) -> int:
        self.work.wait()
        return int(self.number)


def ignores_hangup() -> bool:
    """Whether this process was started to outlive its terminal, as by `nohup`."""
    return signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def init_worker(*args, **kwargs) -> None:
    """MMEngine's `worker_init_fn`, for a worker of a data loader that must outlive the signals of the run.

    Slurm, torchrun and a terminal send them to all processes, and PyTorch ends a training that loses a worker.
    """
    worker_init_fn(*args, **kwargs)
    if hasattr(signal, 'sigwaitinfo'):  # macOS has none
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        threading.Thread(target=_exit_when_parent_asks, daemon=True).start()


def _exit_when_parent_asks() -> None:
    # Not os.getppid(), which is the fork server if the start method is forkserver.
    training = multiprocessing.parent_process()
    while training and signal.sigwaitinfo(SIGNALS).si_pid != training.pid:
        pass
    os._exit(0)
