"""A run that is told to stop saves a checkpoint first, and resuming from it is exact."""

import os
import signal
import subprocess
import time
from contextlib import suppress

import pytest
import runs
import torch
import toy
from mmengine.config import Config
from mmengine.hooks import Hook

from mmseg_bpkd.engine.devices import use_available_devices
from mmseg_bpkd.engine.hooks.save_on_signal import StoppedBySignal
from mmseg_bpkd.engine.train import train

EXIT_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129}


class Send(Hook):
    """Sends this process a signal at one call of one method of a hook."""

    def __init__(self, number: int, method: str, call: int) -> None:
        self.calls = 0

        def send(*args, **kwargs) -> None:
            self.calls += 1
            if self.calls == call:
                os.kill(os.getpid(), number)

        setattr(self, method, send)


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in EXIT_CODES}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """The last checkpoint of an uninterrupted run of 8 iterations."""
    folder = tmp_path_factory.mktemp('whole')
    toy.runner(folder).train()
    return toy.checkpoint(folder, 8)


def stop(folder, number: int, method: str, call: int, **changes) -> None:
    with pytest.raises(StoppedBySignal) as stopped:
        toy.runner(folder, hooks=(Send(number, method, call),), **changes).train()
    assert stopped.value.code == EXIT_CODES[number]


def saved(folder) -> list:
    return sorted(name for name in os.listdir(folder) if name.endswith(('.pth', '.part')))


def resume(folder, iteration: int, **changes) -> dict:
    path = f'{folder}/iter_{iteration}.pth'
    assert open(f'{folder}/last_checkpoint').read() == path
    toy.runner(folder, resume=True, load_from=path, **changes).train()
    return toy.checkpoint(folder, 8)


@pytest.mark.parametrize('number', EXIT_CODES)
@pytest.mark.parametrize(
    ('method', 'call', 'iteration'),
    [
        ('before_train_iter', 3, 3),  # in a step
        ('after_train_iter', 3, 3),  # between two checkpoints
        ('before_save_checkpoint', 1, 2),  # while a checkpoint is saved
        ('before_val_epoch', 1, 4),
        ('before_train_epoch', 1, 1),
        ('before_train_iter', 8, 8),  # the last step
    ],
)
def test_the_step_is_finished_and_resuming_gives_the_same_weights(tmp_path, whole, number, method, call, iteration):
    stop(tmp_path, number, method, call)
    assert saved(tmp_path) == [f'iter_{iteration}.pth']
    assert toy.checkpoint(tmp_path, iteration)['meta']['iter'] == iteration
    assert toy.same(resume(tmp_path, iteration), whole)
    assert saved(tmp_path) == ['iter_8.pth']


def test_a_validation_that_was_broken_off_is_repeated(tmp_path, whole):
    validated = []

    class Record(Hook):
        def after_val_epoch(self, runner, metrics=None):
            validated.append((runner.iter, metrics['mean']))

    toy.runner(tmp_path / 'whole', hooks=(Record(),)).train()
    expected, validated = validated, []
    stop(tmp_path, signal.SIGTERM, 'after_val_iter', 2)
    toy.runner(tmp_path, resume=True, load_from=f'{tmp_path}/iter_4.pth', hooks=(Record(),)).train()
    assert validated == expected and [iteration for iteration, _ in validated] == [4, 8]


def test_a_stop_between_two_validations_keeps_the_averaged_weights_apart(tmp_path):
    """EMAHook validates the averaged weights, so they are in the model when the signal arrives."""
    settings = dict(
        custom_hooks=[dict(type='ExactResumeHook'), dict(type='SaveOnSignalHook'), dict(type='EMAHook', momentum=0.5)],
        default_hooks=dict(checkpoint=dict(type='AtomicCheckpointHook', by_epoch=False, interval=3)),
    )
    toy.runner(tmp_path / 'whole', **settings).train()
    send = Send(signal.SIGTERM, 'after_val_iter', 2)
    with pytest.raises(StoppedBySignal):
        toy.runner(tmp_path, **dict(settings, custom_hooks=[*settings['custom_hooks'], send])).train()
    toy.runner(tmp_path, resume=True, load_from=f'{tmp_path}/iter_4.pth', **settings).train()
    expected, got = (toy.checkpoint(folder, 8) for folder in (tmp_path / 'whole', tmp_path))
    assert toy.same(got, expected)
    assert all(torch.equal(got['ema_state_dict'][name], value) for name, value in expected['ema_state_dict'].items())


@pytest.mark.parametrize(
    ('steps', 'method', 'call', 'iteration'), [(4, 'before_train_iter', 2, 4), (8, 'after_val_iter', 1, 8)]
)
def test_accumulated_gradients_are_not_lost(tmp_path, steps, method, call, iteration):
    accumulating = dict(
        optim_wrapper=dict(
            type='OptimWrapper', accumulative_counts=steps, optimizer=dict(type='SGD', lr=0.02, momentum=0.9)
        ),
        default_hooks=dict(checkpoint=dict(type='AtomicCheckpointHook', by_epoch=False, interval=100)),
    )
    toy.runner(tmp_path / 'whole', **accumulating).train()
    stop(tmp_path, signal.SIGTERM, method, call, **accumulating)
    assert saved(tmp_path) == [f'iter_{iteration}.pth']
    assert toy.same(resume(tmp_path, iteration, **accumulating), toy.checkpoint(tmp_path / 'whole', 8))


@pytest.mark.parametrize(('counts', 'warned'), [(1, False), (2, False), (3, True)])
def test_checkpoints_between_two_updates_of_the_weights_are_warned_of(tmp_path, counts, warned):
    optimizer = dict(type='SGD', lr=0.02, momentum=0.9)
    wrapper = dict(type='OptimWrapper', accumulative_counts=counts, optimizer=optimizer)
    toy.runner(tmp_path, optim_wrapper=wrapper).train()
    log = ''.join(path.read_text() for path in tmp_path.glob('*/*.log'))
    message = f'a checkpoint is saved every 2 iterations, but {counts} iterations are one update'
    assert (message in log) == warned


def test_without_a_checkpoint_hook_the_run_stops_and_says_so(tmp_path):
    stop(tmp_path, signal.SIGTERM, 'before_train_iter', 3, default_hooks=dict(checkpoint=None))
    assert saved(tmp_path) == []
    log = ''.join(path.read_text() for path in tmp_path.glob('*/*.log'))
    assert 'stopped by SIGTERM after iteration 3. Nothing is saved, because the run has no CheckpointHook' in log


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    first, second = (Send(signal.SIGINT, method, 1) for method in ('before_train_epoch', 'before_train_iter'))
    with pytest.raises(KeyboardInterrupt):
        toy.runner(tmp_path, hooks=(first, second)).train()
    assert saved(tmp_path) == []


def test_a_run_under_nohup_outlives_its_terminal(tmp_path, whole):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    toy.runner(tmp_path, hooks=(Send(signal.SIGHUP, 'before_train_iter', 3),)).train()
    assert toy.same(toy.checkpoint(tmp_path, 8), whole)
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


@pytest.mark.parametrize('stopped', [False, True])
def test_the_handlers_of_before_are_back_after_the_run(tmp_path, handlers, stopped):
    if stopped:
        stop(tmp_path, signal.SIGTERM, 'before_train_iter', 1)
    else:
        toy.runner(tmp_path, max_iters=1).train()
    assert {number: signal.getsignal(number) for number in EXIT_CODES} == handlers


def test_a_handler_that_python_did_not_set_becomes_the_default(tmp_path, handlers, monkeypatch):
    """`signal.signal` returns None for the handler of a program that embeds Python."""
    set_handler = signal.signal
    runner = toy.runner(tmp_path, max_iters=1)
    with monkeypatch.context() as patch:
        patch.setattr(signal, 'signal', lambda *given: (set_handler(*given), None)[1])
        runner.train()
    assert {signal.getsignal(number) for number in EXIT_CODES} == {signal.SIG_DFL}


# Several processes


SCENARIOS = {  # the signal, the method of a hook in which it arrives, and at which call of it in which process
    'one': (signal.SIGTERM, 'before_train_iter', {1: 3}),
    'both': (signal.SIGINT, 'before_train_iter', {0: 3, 1: 2}),
    'validation': (signal.SIGTERM, 'after_val_iter', {1: 1}),
}


def train_rank(rank: int, ports: list, folder: str) -> None:
    """One of two processes."""
    torch.set_num_threads(1)
    for port, (name, (number, method, calls)) in zip(ports, SCENARIOS.items(), strict=True):
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2')
        os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
        cfg = Config(dict(launcher='pytorch'))
        use_available_devices(cfg)
        hooks = [Send(number, method, calls[rank])] if rank in calls else []
        run = toy.runner(f'{folder}/{name}', hooks=hooks, launcher='pytorch', cfg=cfg)
        with pytest.raises(StoppedBySignal) as stopped:
            train(run)
        assert stopped.value.code == EXIT_CODES[number]
        with open(f'{folder}/{name}/stopped_{rank}', 'w') as file:
            file.write(str(run.iter))


@pytest.mark.slow
def test_two_processes_stop_after_the_same_step(tmp_path):
    ports = [runs.free_port() for _ in SCENARIOS]
    both = torch.multiprocessing.spawn(train_rank, (ports, str(tmp_path)), nprocs=2, join=False)
    deadline = time.monotonic() + 120
    while not both.join(timeout=1):
        if time.monotonic() > deadline:  # one of them waits for the other
            for process in both.processes:
                process.kill()
            pytest.fail('the processes did not stop')
    steps = {name: [(tmp_path / name / f'stopped_{rank}').read_text() for rank in range(2)] for name in SCENARIOS}
    # `iter` counts completed steps only after the hooks of a step.
    assert steps == dict(one=['3', '3'], both=['2', '2'], validation=['4', '4'])
    for name, saved_as in (('one', 4), ('both', 3), ('validation', 4)):
        assert saved(tmp_path / name) == [f'iter_{saved_as}.pth']


# The tools


@pytest.fixture(scope='module')
def real(tmp_path_factory):
    """A config with dropout, augmentation and two data workers, that saves a checkpoint only at the end."""
    folder = tmp_path_factory.mktemp('run')
    seldom = "default_hooks['checkpoint']['interval'] = 100\n"
    return runs.write_config(folder, 12, more=runs.INTERRUPTIBLE + seldom), folder


def stop_when_seen(config: str, folder, tool: str, *args, **kwargs) -> int:
    def seen() -> bool:
        return any('Iter(train) [ 3/12]' in path.read_text() for path in folder.glob('*/*.log'))

    return runs.kill_when(seen, tool, config, *args, '--work-dir', folder, **kwargs)


def iteration_saved_in(folder) -> int:
    return torch.load((folder / 'last_checkpoint').read_text())['meta']['iter']


@pytest.mark.slow
def test_a_signal_to_train_and_its_data_workers_loses_nothing(real):
    config, folder = real
    runs.call('train.py', config, '--work-dir', folder / 'whole')
    for number, code in EXIT_CODES.items():
        work_dir = folder / f'stopped_{number}'
        assert stop_when_seen(config, work_dir, 'train.py', number=number) == code
        assert 3 <= iteration_saved_in(work_dir) < 12
        runs.call('train.py', config, '--work-dir', work_dir, '--resume')
        assert runs.same(runs.student(work_dir / 'iter_12.pth'), runs.student(folder / 'whole/iter_12.pth'))


@pytest.mark.slow
def test_a_signal_to_dist_train_loses_nothing(real):
    """From a terminal, the whole group gets it; from Docker, the script alone."""
    config, folder = real
    runs.call('dist_train.sh', config, 2, '--work-dir', folder / 'two')
    for number, code in EXIT_CODES.items():
        for group in (True, False):
            work_dir = folder / f'two_{number}_{group}'
            assert stop_when_seen(config, work_dir, 'dist_train.sh', 2, number=number, group=group) == code
            assert 3 <= iteration_saved_in(work_dir) < 12
            runs.call('dist_train.sh', config, 2, '--work-dir', work_dir, '--resume', 'auto')
            assert runs.same(runs.student(work_dir / 'iter_12.pth'), runs.student(folder / 'two/iter_12.pth'))


@pytest.mark.slow
def test_dist_train_under_nohup_outlives_its_terminal(real):
    config, folder = real

    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    work_dir = folder / 'nohup'
    assert stop_when_seen(config, work_dir, 'dist_train.sh', 2, number=signal.SIGHUP, prepare=ignore) == 0
    assert iteration_saved_in(work_dir) == 12


FORK_SERVER = "env_cfg = dict(mp_cfg=dict(mp_start_method='forkserver'))  # the default of Python 3.14\n"


def processes_of(group: int) -> list:
    listed = subprocess.run(['ps', '-e', '-o', 'pgid=,stat=,args='], capture_output=True, text=True).stdout.splitlines()
    rows = [line.split(maxsplit=2) for line in listed]
    return [row[2] for row in rows if row[0] == str(group) and not row[1].startswith('Z')]


@pytest.mark.slow
def test_workers_of_a_fork_server_end_with_the_training(tmp_path):
    """Their parent process is the server, but it is the training that tells them to end."""
    config = runs.write_config(tmp_path, 2, more=runs.INTERRUPTIBLE + FORK_SERVER)
    with open(tmp_path / 'log', 'w') as log:
        process = subprocess.Popen(
            runs.command('train.py', config, '--work-dir', tmp_path / 'run'),
            env=runs.ENVIRONMENT,
            cwd=runs.ROOT,
            start_new_session=True,
            stdout=log,
            stderr=log,
        )
        try:
            assert process.wait(timeout=120) == 0, (tmp_path / 'log').read_text()[-2000:]
            deadline = time.monotonic() + 10
            while processes_of(process.pid) and time.monotonic() < deadline:
                time.sleep(0.1)
            assert processes_of(process.pid) == []
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert (tmp_path / 'run/iter_2.pth').is_file()


@pytest.mark.slow
def test_a_signal_to_a_training_with_a_fork_server_loses_nothing(tmp_path):
    config = runs.write_config(tmp_path, 12, more=runs.INTERRUPTIBLE + FORK_SERVER)
    assert stop_when_seen(config, tmp_path / 'run', 'train.py', number=signal.SIGTERM) == 143
    assert 3 <= iteration_saved_in(tmp_path / 'run') < 12
