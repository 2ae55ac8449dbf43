"""What a training shows on the terminal, and what only its log file has."""

import re
from pathlib import Path

import pytest
import runs
import toy
from mmengine.config import Config
from mmengine.runner import LogProcessor

from mmseg_bpkd.engine.hooks import ProgressHook
from mmseg_bpkd.fileio.console import ConsoleRunner


def shown(capfd) -> list[str]:
    out, err = capfd.readouterr()
    return [line for line in (out + err).splitlines() if line.strip()]


@pytest.fixture
def run(tmp_path, capfd):
    """Trains six steps, with a log interval of 50. Returns the lines of the terminal and the text of the log file."""

    def run(**changes):
        cfg = Config.fromfile(runs.write_config(tmp_path))
        cfg.merge_from_dict({'work_dir': str(tmp_path / 'run'), 'default_hooks.logger.interval': 50, **changes})
        cfg.experiment_name = f'progress {tmp_path}'
        ConsoleRunner.from_cfg(cfg).train()
        (log,) = Path(tmp_path).glob('run/*/*.log')
        return shown(capfd), log.read_text()

    return run


def test_the_terminal_says_what_runs_where_and_the_last_step_and_the_log_file_says_all(run):
    lines, log = run()
    assert len(lines) < 30
    text = '\n'.join(lines)
    for item in ('teacher:', 'student:', 'losses:', 'data:', 'device:', 'steps:', 'folder:'):
        assert sum(item in line for line in lines) == 1, item
    assert 'ResNetV1c, PSPHead' in text and 'loss_bpkd (BPKDLoss)' in text and '7 images, 5 to validate' in text
    (last,) = [line for line in lines if re.search(r'Iter\(train\) *\[6/6\]', line)]
    assert all(key in last for key in ('lr:', 'eta:', 'loss:', 'distill.loss_bpkd_edge:'))
    assert 'mIoU' in text  # the validation
    dumps = 'System environment', 'custom_hooks = [', 'Hooks will be executed', 'architecture.backbone', '|  Class   |'
    for dumped in dumps:
        assert dumped in log and dumped not in text


@pytest.mark.parametrize(('seconds', 'expected'), [(0, [1, 2, 3, 5, 6, 7]), (1000, [])])
def test_a_line_is_shown_when_the_last_one_is_older(tmp_path, capfd, seconds, expected):
    """The LoggerHook shows each fourth step, here."""
    toy.runner(tmp_path, hooks=[dict(type='ProgressHook', seconds=seconds)], default_hooks=LOG_OF_FOUR).train()
    found = [re.search(r'^Iter\(train\) *\[ *(\d+)/8\]', line) for line in shown(capfd)]
    assert [int(match[1]) for match in found if match] == expected


LOG_OF_FOUR = dict(
    checkpoint=dict(type='AtomicCheckpointHook', by_epoch=False, interval=2), logger=dict(type='LoggerHook', interval=4)
)


def test_only_the_first_process_shows_progress(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr('mmseg_bpkd.engine.hooks.progress.is_main_process', lambda: False)
    runner = toy.runner(tmp_path, hooks=[ProgressHook(0)], default_hooks=LOG_OF_FOUR)
    runner.train()
    assert not [line for line in shown(capfd) if line.startswith('Iter(train)')]


def test_a_line_does_not_reset_the_peak_memory_of_the_log(tmp_path, monkeypatch):
    """On a GPU, each call of the LogProcessor resets it, so only the LoggerHook may call it."""
    steps, original = [], LogProcessor.get_log_after_iter

    def count(self, runner, batch_idx, mode):
        if mode == 'train':
            steps.append(runner.iter + 1)
        return original(self, runner, batch_idx, mode)

    monkeypatch.setattr(LogProcessor, 'get_log_after_iter', count)
    toy.runner(tmp_path, hooks=[dict(type='ProgressHook', seconds=0)], default_hooks=LOG_OF_FOUR).train()
    assert steps == [4, 8]
