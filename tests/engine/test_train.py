"""What `bpkd train` does around the Runner: where it resumes, and the lock on its folders."""

import argparse
import multiprocessing
import os
import os.path as osp
import signal
from contextlib import contextmanager

import pytest
import runs
import toy
from mmengine.config import Config

from mmseg_bpkd.engine.train import apply_training_options, checkpoint_folder, locked_folders
from mmseg_bpkd.fileio.work_dir import WorkDirInUse, last_checkpoint, only_process

DEMO = f'mmseg_bpkd::{runs.DEMO}'
OPTIONS = dict.fromkeys(('seed', 'deterministic', 'amp', 'auto_scale_lr', 'from_scratch', 'resume'))


def applied(folder, resume=None, **settings) -> Config:
    """A config with the options of the command line applied."""
    cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper'), work_dir=str(folder), launcher='none', **settings))
    apply_training_options(cfg, argparse.Namespace(**{**OPTIONS, 'resume': resume}))
    return cfg


# Where a run resumes


@pytest.mark.parametrize('how', [dict(resume='auto'), 'config'])
@pytest.mark.parametrize('content', [None, b'', b'\xff\x00'])
def test_a_run_resumes_from_the_newest_checkpoint_if_none_is_named(content, how, tmp_path):
    toy.runner(tmp_path, max_iters=4).train()
    os.remove(tmp_path / 'last_checkpoint')
    if content is not None:
        (tmp_path / 'last_checkpoint').write_bytes(content)
    cfg = applied(tmp_path, **how) if isinstance(how, dict) else _with_resume_in_the_config(tmp_path)
    assert cfg.resume and cfg.load_from == str(tmp_path / 'iter_4.pth')
    run = toy.runner(tmp_path, resume=cfg.resume, load_from=cfg.load_from, max_iters=4)
    run.train()
    assert run.message_hub.get_info('iter') == 4  # no step from the start


def _with_resume_in_the_config(folder) -> Config:
    cfg = Config(dict(optim_wrapper={}, work_dir=str(folder), launcher='none', resume=True, load_from=None))
    apply_training_options(cfg, argparse.Namespace(**OPTIONS))
    return cfg


@pytest.mark.parametrize('content', [b'', b'\xff\x00', b'iter_4.pth', b'/elsewhere/iter_4.pth'])
def test_a_named_checkpoint_that_is_nowhere_is_an_error(content, tmp_path):
    (tmp_path / 'last_checkpoint').write_bytes(content)
    with pytest.raises(
        FileNotFoundError, match=r'last_checkpoint names no checkpoint, and .* has no iter_\*\.pth: give'
    ):
        applied(tmp_path, 'auto')


def test_the_first_start_keeps_load_from(tmp_path):
    cfg = applied(tmp_path / 'new', 'auto', load_from='weights.pth')
    assert (cfg.resume, cfg.load_from) == (False, 'weights.pth')


def test_a_config_that_names_a_checkpoint_to_resume_keeps_it(tmp_path):
    (tmp_path / 'iter_4.pth').touch()
    assert applied(tmp_path, resume=None, load_from='x.pth').load_from == 'x.pth'


@pytest.mark.parametrize(
    ('key', 'value'), [('max_iters', 0), ('max_iters', -1), ('max_iters', 1.5), ('max_iters', '9')]
)
def test_a_training_without_an_iteration_is_an_error(key, value, tmp_path):
    with pytest.raises(ValueError, match=rf'train_cfg\.{key} is {value!r}, expected a whole number that is at least 1'):
        applied(tmp_path, train_cfg={key: value})


def test_no_iteration_ends_with_one_line(bpkd, tmp_path):
    message = bpkd('train', DEMO, '--work-dir', tmp_path, '--cfg-options', 'train_cfg.max_iters=0')
    assert message == 'error: train_cfg.max_iters is 0, expected a whole number that is at least 1'


@pytest.mark.parametrize('value', [0, -1])
def test_a_validation_that_never_comes_is_an_error(value, tmp_path):
    with pytest.raises(ValueError, match=rf'train_cfg\.val_interval is {value}, expected'):
        applied(tmp_path, train_cfg=dict(max_iters=4, val_interval=value))


def test_usual_lengths_are_accepted(tmp_path):
    for train_cfg in (dict(max_iters=1, val_interval=9), dict(max_iters=2e4), dict(max_epochs=3), None):
        applied(tmp_path, train_cfg=train_cfg)


# The lock


@contextmanager
def locked_elsewhere(folder):
    """Another process trains in a folder."""
    context = multiprocessing.get_context('fork')
    here, there = context.Pipe()
    process = context.Process(target=_hold, args=(str(folder), there), daemon=True)
    process.start()
    here.recv()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def _hold(folder: str, pipe) -> None:
    with only_process(folder):
        pipe.send('locked')
        pipe.recv()


def training(folder, out_dir=None, launcher: str = 'none') -> Config:
    checkpoint = dict(type='AtomicCheckpointHook', out_dir=out_dir and str(out_dir))
    return Config(dict(work_dir=str(folder), launcher=launcher, default_hooks=dict(checkpoint=checkpoint)))


def test_only_the_first_process_of_a_run_holds_the_lock(tmp_path, monkeypatch):
    monkeypatch.setenv('RANK', '1')  # left over from another program
    with locked_elsewhere(tmp_path) as other:
        with locked_folders(training(tmp_path, launcher='pytorch')):
            pass
        with (
            pytest.raises(WorkDirInUse, match=rf'another process is training in .* \(process {other.pid} on '),
            locked_folders(training(tmp_path)),
        ):
            pass
        monkeypatch.setenv('RANK', '0')
        with pytest.raises(WorkDirInUse), locked_folders(training(tmp_path, launcher='pytorch')):
            pass
    with locked_folders(training(tmp_path)):
        pass


def test_two_work_directories_with_one_folder_of_checkpoints_exclude_each_other(tmp_path):
    cfg = training(tmp_path / 'b/run', tmp_path / 'out')
    assert checkpoint_folder(cfg) == str(tmp_path / 'out/run')
    with locked_elsewhere(checkpoint_folder(cfg)), pytest.raises(WorkDirInUse, match='out/run'), locked_folders(cfg):
        pass
    with locked_elsewhere(tmp_path / 'b/run'), pytest.raises(WorkDirInUse, match='b/run'), locked_folders(cfg):
        pass


def test_the_folder_of_the_checkpoints_is_that_of_mmengine(tmp_path):
    hook = dict(type='AtomicCheckpointHook', by_epoch=False, interval=1, out_dir=str(tmp_path / 'out'))
    run = toy.runner(tmp_path / 'run', max_iters=1, default_hooks=dict(checkpoint=hook))
    run.train()
    assert os.listdir(checkpoint_folder(training(tmp_path / 'run', tmp_path / 'out'))) == ['iter_1.pth']
    assert last_checkpoint(str(tmp_path / 'run')) == str(tmp_path / 'out/run/iter_1.pth')


@pytest.mark.parametrize('command', [['train', DEMO], ['demo']])
def test_a_second_training_ends_with_one_line(command, bpkd, tmp_path):
    (tmp_path / 'iter_4.pth').write_bytes(b'untouched')
    with locked_elsewhere(tmp_path):
        message = bpkd(*command, '--work-dir', tmp_path)
    assert message.startswith(f'error: another process is training in {tmp_path} (process ') and '\n' not in message
    assert sorted(os.listdir(tmp_path)) == ['.lock', 'iter_4.pth']


@pytest.mark.parametrize('command', [['train', DEMO], ['test', DEMO, 'x.pth'], ['demo']])
def test_a_work_directory_that_is_not_utf8_ends_with_one_line(command, bpkd, tmp_path):
    folder = os.fsdecode(os.fsencode(tmp_path) + b'/run\xff')
    message = bpkd(*command, '--work-dir', folder)
    assert 'is not UTF-8: rename the folder' in message and '\n' not in message
    assert not osp.exists(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('first', 'number', 'second'),
    [
        (['dist_train.sh', 2], signal.SIGTERM, ['train.py']),  # killed, torchrun would leave its processes training
        (['train.py'], signal.SIGKILL, ['dist_train.sh', 2]),
    ],
)
def test_a_second_training_is_refused_until_the_first_ends(first, number, second, tmp_path):
    config = runs.write_config(tmp_path, 3000, more=runs.INTERRUPTIBLE)
    folder = tmp_path / 'run'
    done = []

    def start(check: bool, *more) -> None:
        tool, *processes = second
        done.append(runs.call(tool, config, *processes, '--work-dir', folder, *more, check=check))

    def refused() -> bool:
        trains = any('Iter(train) [   1/3000]' in path.read_text() for path in folder.glob('*/*.log'))
        if trains:
            start(False)
        return trains

    tool, *processes = first
    runs.kill_when(refused, tool, config, *processes, '--work-dir', folder, number=number)
    assert done[0].returncode == 1
    assert 'error: another process is training in' in done[0].stderr.splitlines()[-1]
    start(True, '--cfg-options', 'train_cfg.max_iters=1')


ADAMW = "optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=1e-4))"


@pytest.mark.slow
def test_what_cannot_be_resumed_ends_with_one_line(tmp_path):
    config = runs.write_config(tmp_path, 2)
    runs.call('train.py', config, '--work-dir', tmp_path / 'run')
    (tmp_path / 'adamw').mkdir()
    adamw = runs.write_config(tmp_path / 'adamw', 2, more=ADAMW)
    for arguments, message in (
        ([adamw], 'the config has AdamW, but the checkpoint is of another optimizer'),
        ([config, '--method', 'cwd'], 'it was trained with loss_bpkd'),
    ):
        done = runs.call('train.py', *arguments, '--work-dir', tmp_path / 'run', '--resume', check=False)
        assert done.returncode == 1 and message in done.stderr.splitlines()[-1], done.stderr
        assert 'Traceback' not in done.stderr
