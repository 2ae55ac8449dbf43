"""A campaign that kills runs of two processes at random moments. Each resumed run must end bit for bit the same.

    python -m pytest -m slow tests/engine/test_kills.py
    KILLS=100 KILL_SEED=3 python -m pytest -m slow tests/engine/test_kills.py    # default: 30 kills, seed 0

The moments take turns, from one that the seed chooses: start-up, a step, the saving of a checkpoint, validation, and
any time at all. Each kill hits one process or both, with SIGKILL. Each is printed; -s shows it.
"""

import contextlib
import os
import os.path as osp
import random
import signal
import subprocess
import time

import pytest
import runs
import torch
from conftest import ROOT

KILLS = int(os.environ.get('KILLS', 30))
SEED = int(os.environ.get('KILL_SEED', 0))
ITERATIONS = 8  # see PHASES
# When a phase begins: what the log of the first process shows, or which file exists, with the choices for {}. The kill
# comes up to so many seconds later.
PHASES = {
    'start-up': ('', [0], 8.0),
    'step': ('Iter(train) [{}/8]', range(1, 8), 1.0),
    'saving': ('iter_{}.pth.part', [2, 4, 6, 8], 0.4),
    'validation': ('Iter(train) [{}/8]', [4, 8], 2.5),
    'any time': ('', [0], 25.0),
}
HOOK = "default_hooks.update(slow=dict(type='SlowStepHook', slow_writing=True))\n"


class TwoProcesses:
    """A training in two processes, without a launcher, so that each can be killed."""

    def __init__(self, config: str, work_dir: str, slow: bool = False) -> None:
        port = runs.free_port()
        self.log = open(f'{work_dir}.txt', 'a+')
        self.began = self.log.tell()
        self.processes = [
            subprocess.Popen(
                runs.command('train.py', config, '--work-dir', work_dir, '--launcher', 'pytorch', '--resume', 'auto'),
                cwd=ROOT,
                env=dict(
                    runs.ENVIRONMENT,
                    SLOW_STEPS='1' if slow else '',
                    RANK=str(rank),
                    LOCAL_RANK=str(rank),
                    WORLD_SIZE='2',
                    MASTER_ADDR='127.0.0.1',
                    MASTER_PORT=str(port),
                ),
                start_new_session=True,  # a group with its data workers
                stdout=self.log if rank == 0 else subprocess.DEVNULL,
                stderr=subprocess.STDOUT if rank == 0 else subprocess.DEVNULL,
            )
            for rank in range(2)
        ]

    def running(self) -> bool:
        return all(process.poll() is None for process in self.processes)

    def shows(self, text: str) -> bool:
        self.log.seek(self.began)
        return text in self.log.read()

    def kill(self, rank: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.processes[rank].pid, signal.SIGKILL)
        self.processes[rank].wait()

    def exit_codes(self) -> list:
        return [process.wait(timeout=300) for process in self.processes]

    def finish(self) -> None:
        codes = self.exit_codes()
        self.log.seek(self.began)
        assert codes == [0, 0], self.log.read()[-3000:]


def wait_for(phase: str, run: TwoProcesses, work_dir: str, rng: random.Random) -> str:
    """Waits until a random moment of the phase. Returns a description of it."""
    template, choices, seconds = PHASES[phase]
    sign = template.format(rng.choice(choices))
    while sign and run.running() and not osp.exists(osp.join(work_dir, sign)) and not run.shows(sign):
        time.sleep(0.01)
    delay = rng.uniform(0, seconds)
    end = time.monotonic() + delay
    while time.monotonic() < end and run.running():
        time.sleep(0.01)
    return f'{sign} + {delay:.2f} s'


@pytest.mark.slow
def test_killed_runs_of_two_processes_end_bit_for_bit_the_same(tmp_path):
    config = runs.write_config(
        tmp_path, ITERATIONS, more=runs.INTERRUPTIBLE + HOOK + 'train_cfg.update(val_interval=4)\n'
    )
    whole = TwoProcesses(config, str(tmp_path / 'whole'))
    whole.finish()
    expected = torch.load(tmp_path / f'whole/iter_{ITERATIONS}.pth')
    rng, killed = random.Random(SEED), 0
    while killed < KILLS:
        phase = list(PHASES)[(SEED + killed) % len(PHASES)]
        work_dir = str(tmp_path / f'run{killed}')
        run = TwoProcesses(config, work_dir, slow=True)
        moment = wait_for(phase, run, work_dir, rng)
        victims = rng.choice([[0], [1], [0, 1], [1, 0]])
        alive = run.running()
        assert alive or not any(run.exit_codes())
        for rank in victims:
            run.kill(rank)
        time.sleep(rng.uniform(0, 3))  # the process that is left may end by itself, or write
        for rank in {0, 1} - set(victims):
            run.kill(rank)
        where = 'nothing is saved'
        last = osp.join(work_dir, 'last_checkpoint')
        if osp.exists(last):
            path = open(last).read()
            where = f'iteration {torch.load(path)["meta"]["iter"]} is saved'  # it is complete
        print(f'kill {killed}: {phase}, {moment}, processes {victims}, {where}', '' if alive else '(had ended)')
        TwoProcesses(config, work_dir).finish()
        got = torch.load(osp.join(work_dir, f'iter_{ITERATIONS}.pth'))
        assert runs.same(got['state_dict'], expected['state_dict'])
        for a, b in zip(got['optimizer']['state'].values(), expected['optimizer']['state'].values(), strict=True):
            assert torch.equal(a['momentum_buffer'], b['momentum_buffer'])
        assert not [name for name in os.listdir(work_dir) if name.endswith('.part')]
        killed += 1
