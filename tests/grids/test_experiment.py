"""Grids of runs: an interrupted grid gives the same results, crashes do not stop the others, nothing runs twice."""

import json
import os
import os.path as osp
import re
import shutil
import signal
import subprocess
import sys
import time
from argparse import Namespace
from inspect import signature

import pytest
import runs
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import IterBasedTrainLoop, Runner, find_latest_checkpoint

from mmseg_bpkd.cli import experiment
from mmseg_bpkd.engine.train import apply_training_options
from mmseg_bpkd.evaluation.metrics import load_counts
from mmseg_bpkd.fileio.work_dir import is_in_use, last_checkpoint
from mmseg_bpkd.grids import processes, scheduler, worker
from mmseg_bpkd.grids.grid_file import Grid, Run, load_grid
from mmseg_bpkd.grids.processes import LocalProcess, SubmititJob, submitit_executor
from mmseg_bpkd.grids.progress import Job, duration, seconds_left
from mmseg_bpkd.grids.recorder import RunRecorder
from mmseg_bpkd.grids.result_tables import accuracy_table, class_table
from mmseg_bpkd.grids.run_results import Results
from mmseg_bpkd.grids.scheduler import run_grid
from mmseg_bpkd.grids.worker import execute

WRITES_ITS_RESULT = 'import json, sys; json.dump(dict(metrics={}), open(sys.argv[1], "w"))'


def write_grid(folder, text: str) -> str:
    os.makedirs(folder, exist_ok=True)
    path = osp.join(folder, 'grid.py')
    with open(path, 'w') as file:
        file.write(f'{text}\nwork_dir = {osp.join(folder, "work")!r}\nresults = {osp.join(folder, "results")!r}\n')
    return path


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory):
    """The file of a grid with a run, its result, and a second run that crashes."""
    folder = tmp_path_factory.mktemp('grid')
    slow = 'default_hooks.update(slow=dict(type="SlowStepHook"))\n'
    slow += 'custom_imports = dict(imports=["mmseg_bpkd.engine", "slow_step"])\ntrain_cfg.update(val_interval=2)'
    config = runs.write_config(folder, 4, more=slow)
    text = f"""
_broken = {{'model.distiller.losses.loss_bpkd.type': 'BPKLoss'}}
configs = dict(bpkd={config!r}, broken=dict(config={config!r}, options=_broken))
seeds = [1]
"""
    grid = load_grid(write_grid(folder / 'whole', text))
    run = grid.runs[0]
    execute(run, grid.folder(run), grid.result(run))
    return text, grid


def result(folder, name: str) -> dict:
    with open(osp.join(folder, f'{name}.json')) as file:
        return json.load(file)


def without_costs(record: dict) -> dict:
    """The parts of a result that do not depend on the speed and the folders of this machine."""
    curve = [{key: value for key, value in point.items() if key != 'seconds'} for point in record['curve']]
    keys = ('name', 'seed', 'config', 'merge', 'overrides', 'versions', 'steps', 'metrics', 'per_class')
    return dict({key: record[key] for key in keys}, curve=curve)


def tables_of(folder: str) -> list:
    results = Results(folder)
    of_classes = filter(None, (class_table(results, key) for key in results.metrics))  # body mIoU has none
    return [table.markdown() for table in (accuracy_table(results), *of_classes)]


def assert_same_results(folder, expected) -> None:
    assert without_costs(result(folder, 'bpkd-1')) == without_costs(result(expected, 'bpkd-1'))
    got, counts = (load_counts(osp.join(place, 'bpkd-1.npz')) for place in (folder, expected))
    assert got.keys() == counts.keys() and all((got[key] == counts[key]).all() for key in got)
    assert tables_of(folder) == tables_of(expected)


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_same_result(uninterrupted, tmp_path, monkeypatch):
    text, whole = uninterrupted
    grid = load_grid(write_grid(tmp_path, text))
    run = grid.runs[0]
    original = RunRecorder.after_train_iter

    def interrupt_in_step_3(self, runner, *args, **kwargs):  # the last checkpoint is that of step 2
        original(self, runner, *args, **kwargs)
        if runner.iter == 2:
            raise KeyboardInterrupt

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(RunRecorder, 'after_train_iter', interrupt_in_step_3)
        execute(run, grid.folder(run), grid.result(run))
    for number, handler in handlers.items():  # which the SaveOnSignalHook of the interrupted run has set
        signal.signal(number, handler)
    assert not grid.is_finished(run) and find_latest_checkpoint(grid.folder(run)).endswith('iter_2.pth')
    execute(run, grid.folder(run), grid.result(run))
    assert_same_results(grid.results, whole.results)
    assert [start['step'] for start in result(grid.results, run.id)['starts']] == [0, 2]
    checkpoints = [torch.load(osp.join(of.folder(run), 'iter_4.pth'))['state_dict'] for of in (grid, whole)]
    assert runs.same(*checkpoints)

    written = os.stat(grid.result(run)).st_mtime_ns
    monkeypatch.setattr(worker, '_train', None)
    execute(run, grid.folder(run), grid.result(run))  # a finished run is not repeated
    assert os.stat(grid.result(run)).st_mtime_ns == written


def test_a_run_without_checkpoints_says_so(uninterrupted, tmp_path):
    _, grid = uninterrupted
    with pytest.raises(ValueError, match='saved no checkpoint to test: default_hooks.checkpoint must be a Checkpoint'):
        worker._test(grid.runs[0], str(tmp_path), 'counts.npz')


def test_a_run_resumes_and_is_tested_after_its_folder_was_copied(uninterrupted, tmp_path, monkeypatch):
    """MMEngine stores the absolute path of the last checkpoint."""
    _, grid = uninterrupted
    shutil.copytree(grid.folder(grid.runs[0]), tmp_path / 'copy')
    monkeypatch.chdir(tmp_path)
    tested = []
    monkeypatch.setattr(worker, 'evaluate', lambda *given: tested.append(given) or dict(metrics={}, per_class={}))
    assert find_latest_checkpoint('copy') == osp.join(grid.folder(grid.runs[0]), 'iter_4.pth')
    assert worker._test(grid.runs[0], 'copy', 'counts.npz')['checkpoint'] == 'copy/iter_4.pth'
    (_, checkpoint, _), *_ = tested
    assert checkpoint == 'copy/iter_4.pth'
    cfg = grid.runs[0].load()
    cfg.work_dir = 'copy'
    options = dict(amp=False, deterministic=False, auto_scale_lr=False, from_scratch=False)
    apply_training_options(cfg, Namespace(seed=1, resume='auto', **options))
    assert cfg.resume and cfg.load_from == 'copy/iter_4.pth'


def test_a_checkpoint_outside_the_folder_of_the_run_is_found(tmp_path):
    assert last_checkpoint(str(tmp_path)) is None
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/iter_2.pth\n')
    assert last_checkpoint(str(tmp_path)) == '/elsewhere/iter_2.pth'


def test_a_grid_in_a_folder_that_is_not_utf8_is_refused(tmp_path, monkeypatch):
    broken = os.fsencode(tmp_path) + b'/grid\xff'
    os.mkdir(broken)
    (tmp_path / 'grid.py').write_text("configs = dict(a='a.py')")
    monkeypatch.chdir(broken)
    with pytest.raises(ValueError, match='is not UTF-8'):
        load_grid(str(tmp_path / 'grid.py'))


@pytest.mark.slow
def test_a_killed_grid_gives_the_same_tables_and_a_crash_does_not_stop_it(uninterrupted, tmp_path):
    text, whole = uninterrupted
    path, folder = write_grid(tmp_path, text), tmp_path / 'results'
    log = tmp_path / 'work/bpkd-1/log.txt'

    def step_3_is_done() -> bool:
        return log.exists() and 'Iter(train) [3/4]' in log.read_text()

    runs.kill_when(step_3_is_done, 'experiment.py', path)
    assert not folder.exists() or not os.listdir(folder)
    done = runs.call('experiment.py', path, '--jobs', 2, check=False)
    assert done.returncode == 1
    assert 'resumed epoch: 0, iter: 2' in log.read_text() and 'bpkd-1 finished' in done.stdout
    assert re.search(r'broken-1 CRASHED with exit code 1: .*BPKLoss.*\n +log: .*broken-1/log.txt', done.stdout)
    assert '1 crashed: broken-1' in done.stdout
    assert_same_results(folder, whole.results)


def test_the_json_of_a_run_says_how_it_was_made(uninterrupted):
    _, grid = uninterrupted
    record = result(grid.results, 'bpkd-1')
    assert (record['name'], record['seed'], record['steps'], record['device']) == ('bpkd', 1, 4, 'CPU')
    assert record['config'] == grid.runs[0].config and record['overrides'] == {} and record['merge'] == []
    assert record['checkpoint'] == osp.join(grid.folder(grid.runs[0]), 'iter_4.pth')
    assert record['starts'] == [dict(step=0, commit=worker.commit(), **worker.hardware())]
    assert record['versions'].keys() == {'mmseg_bpkd', 'commit', 'python', 'torch', 'mmengine', 'mmseg'}
    assert 0 < record['training_s'] < record['wall_clock_s'] and record['peak_memory_mib'] > 50
    assert record['ms_per_step'] == pytest.approx(1000 * record['training_s'] / 4, abs=20)
    assert [point['step'] for point in record['curve']] == [2, 4]
    assert record['curve'][0]['seconds'] < record['curve'][1]['seconds']
    assert record['curve'][1]['mIoU'] == record['metrics']['mIoU']  # the last validation is on the test set
    assert next(iter(record['per_class']['trimap/IoU@3px'])) == 'sky'
    assert not {'time', 'data_time'} & record['metrics'].keys()


@pytest.mark.slow
def test_a_run_gives_the_metrics_of_the_training_and_testing_tools(uninterrupted, tmp_path):
    _, grid = uninterrupted
    run = grid.runs[0]
    runs.call('train.py', run.config, '--seed', run.seed, '--work-dir', tmp_path / 'run')
    out = ('--out', tmp_path / 'tool.json', '--work-dir', tmp_path / 'test')
    runs.call('test.py', run.config, tmp_path / 'run/iter_4.pth', *out)
    by_tools, by_grid = result(tmp_path, 'tool'), result(grid.results, run.id)
    assert by_grid['per_class'] == by_tools['per_class']
    assert by_grid['metrics'].items() <= by_tools['metrics'].items()


def test_a_second_process_does_not_train_the_same_run(uninterrupted, tmp_path):
    _, grid = uninterrupted
    run = grid.runs[0]
    os.makedirs(tmp_path / 'run')
    holder = 'import fcntl, sys, time; file = open(sys.argv[1], "w"); fcntl.lockf(file, fcntl.LOCK_EX)\n'
    holder += 'print("ready", flush=True); time.sleep(60)'
    arguments = [sys.executable, '-c', holder, str(tmp_path / 'run/.lock')]
    other = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == 'ready\n'
        assert is_in_use(str(tmp_path / 'run')) and not is_in_use(str(tmp_path))
        with pytest.raises(RuntimeError, match='another process is training in .*run'):
            execute(run, str(tmp_path / 'run'), str(tmp_path / 'result.json'))
    finally:
        other.kill()
        other.wait()
    assert not is_in_use(str(tmp_path / 'run'))


# The scheduler, with processes that only write a result.


class FakeProcess:
    """A process that ends after some polls, and writes its result if its exit code is 0."""

    started = []

    def __init__(self, arguments, log, slot, polls: int = 2) -> None:
        spec = arguments[-1]
        self.id = f'{spec["name"]}-{spec["seed"]}'
        self.result, self.slot, self.polls, self.code = spec['result'], slot, polls, int(spec['name'] == 'bad')
        self.stopped = False
        FakeProcess.started.append(self)
        with open(log, 'a') as file:
            file.write('some line\nValueError: of the run\n\n')

    def poll(self):
        self.polls -= 1
        if self.polls > 0:
            return None
        if self.code == 0:
            os.makedirs(osp.dirname(self.result), exist_ok=True)
            with open(self.result, 'w') as file:
                json.dump(dict(metrics={'aAcc': 50.0, 'mIoU': 12.345, 'trimap/mIoU@3px': 7.0}), file)
        return self.code

    def stop(self):
        self.stopped = True

    def wait(self):
        assert self.stopped


@pytest.fixture
def fakes(monkeypatch):
    monkeypatch.setattr(FakeProcess, 'started', [])
    monkeypatch.setattr(scheduler, 'command', lambda grid, run: [dict(vars(run), result=grid.result(run))])
    monkeypatch.setattr(Run, 'load', lambda run: Config(dict(train_cfg=dict(max_iters=10))))
    return FakeProcess.started


def small_grid(folder, *ids: str) -> Grid:
    split = [id.rsplit('-', 1) for id in ids]
    return Grid([Run(name, int(seed), f'{name}.py') for name, seed in split], f'{folder}/work', f'{folder}/results')


def test_all_runs_are_done_although_one_crashes_and_the_crash_is_counted(fakes, tmp_path, capsys):
    grid = small_grid(tmp_path, 'a-0', 'bad-0', 'b-0', 'c-0')
    assert run_grid(grid, 1, FakeProcess, 0) == 1
    assert [process.id for process in fakes] == ['a-0', 'bad-0', 'b-0', 'c-0']
    printed = capsys.readouterr().out
    assert 'bad-0 CRASHED with exit code 1: ValueError: of the run' in printed
    assert '3 of 4 runs are finished' in printed and '1 crashed: bad-0' in printed
    assert [line for line in printed.splitlines() if 'mIoU' in line] == [f'{name}-0    mIoU 12.35' for name in 'abc']
    assert printed.endswith(f'bpkd experiment summarize {grid.results}\n')


def test_the_progress_line_counts_the_runs_and_says_how_far_each_is(fakes, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(scheduler.ProgressLine, 'show', lambda line, text: shown.append(text))

    class Measured(FakeProcess):
        def __init__(self, arguments, log, slot):
            super().__init__(arguments, log, slot)
            with open(osp.join(osp.dirname(log), 'progress.json'), 'w') as file:
                json.dump(dict(step=4, steps=10, seconds=480.0), file)

    grid = small_grid(tmp_path, 'a-0', 'bad-0', 'a-1')
    os.makedirs(grid.results)
    with open(grid.result(grid.runs[2]), 'w') as file:
        json.dump(dict(metrics={}, steps=6, wall_clock_s=120.0), file)
    assert run_grid(grid, 1, Measured, 0) == 1
    assert shown[0] == '1/3 finished | 16 min left | a-0 40 %'  # 6 and 10 steps of 60 s
    assert shown[-1] == '2/3 finished | 1 crashed'


def call_tool(monkeypatch, *arguments) -> int:
    """Runs `bpkd experiment` in this process, with fakes in place of processes. Returns the exit code."""
    monkeypatch.setattr(processes, 'LocalProcess', lambda command, log, slot, jobs: FakeProcess(command, log, slot))
    monkeypatch.setattr(scheduler, 'run_grid', lambda *args: run_grid(*args, poll_seconds=0))
    monkeypatch.setattr(sys, 'argv', ['experiment.py', *map(str, arguments)])
    return experiment.main()


def test_the_exit_code_says_whether_a_run_crashed(fakes, tmp_path, monkeypatch, capsys):
    path = write_grid(tmp_path, 'configs = dict(a="a.py", bad="bad.py", b="b.py")\nseeds = [0, 1]')
    assert call_tool(monkeypatch, path, '--only', 'a-*', 'b-1') == 0
    assert [process.id for process in fakes] == ['a-0', 'a-1', 'b-1']
    fakes.clear()
    assert call_tool(monkeypatch, path, '--list') == 0 and not fakes
    listed = capsys.readouterr().out.splitlines()[-6:]
    assert listed == [
        'finished  a-0',
        'to do     bad-0',
        'to do     b-0',
        'finished  a-1',
        'to do     bad-1',
        'finished  b-1',
    ]
    assert call_tool(monkeypatch, path, '--jobs', 3) == 1
    assert [process.id for process in fakes] == ['bad-0', 'b-0', 'bad-1']
    for patterns in (['c'], ['a-*', 'c']):
        with pytest.raises(SystemExit, match='--only c: no such run, .* has a-0, bad-0'):
            call_tool(monkeypatch, path, '--only', *patterns)


def test_a_second_start_repeats_only_the_crashed_run(fakes, tmp_path):
    grid = small_grid(tmp_path, 'a-0', 'bad-0', 'b-0')
    run_grid(grid, 3, FakeProcess, 0)
    fakes.clear()
    assert run_grid(grid, 3, FakeProcess, 0) == 1
    assert [process.id for process in fakes] == ['bad-0']


@pytest.mark.parametrize('seen_before', [True, False])
def test_a_run_that_another_process_trains_is_waited_for(fakes, tmp_path, monkeypatch, capsys, seen_before):
    """`seen_before`: whether the other process has the lock when this one looks, or gets it afterwards."""
    grid = small_grid(tmp_path, 'bad-0', 'b-0')
    looks = []

    def busy(folder: str) -> bool:
        if not folder.endswith('bad-0'):
            return False
        looks.append(folder)
        if len(looks) == 4:  # the other process ends
            with open(grid.result(grid.runs[0]), 'w') as file:
                json.dump(dict(metrics={}, steps=10, wall_clock_s=1.0), file)
        return seen_before or len(looks) > 1

    monkeypatch.setattr(scheduler, 'is_in_use', busy)
    os.makedirs(grid.results)
    assert run_grid(grid, 1, FakeProcess, 0) == 0
    assert [process.id for process in fakes] == (['b-0'] if seen_before else ['bad-0', 'b-0'])
    printed = capsys.readouterr().out
    assert printed.count('bad-0 is trained by another process: waiting for it') == 1
    assert 'bad-0 was finished by another process' in printed and '2 of 2 runs are finished' in printed
    assert 'CRASHED' not in printed


def test_a_run_whose_other_process_ends_without_a_result_is_trained(fakes, tmp_path, monkeypatch):
    looks = iter([True, True])
    monkeypatch.setattr(scheduler, 'is_in_use', lambda folder: next(looks, False))
    assert run_grid(small_grid(tmp_path, 'a-0'), 1, FakeProcess, 0) == 0
    assert [process.id for process in fakes] == ['a-0']


@pytest.mark.parametrize('content', [b'', b'{"metrics": ', b'[]', b'\xff\xfe\0'])
@pytest.mark.parametrize('kind', ['result', 'settings'])
def test_an_empty_or_half_written_file_of_a_run_is_named_before_the_first_start(fakes, tmp_path, content, kind):
    grid = small_grid(tmp_path, 'a-0', 'b-0')
    folder = grid.folder(grid.runs[1])
    path = grid.result(grid.runs[1]) if kind == 'result' else osp.join(folder, 'settings.json')
    for each in (grid.results, folder):
        os.makedirs(each)
    for name in ('last_checkpoint', 'iter_1.pth'):
        with open(osp.join(folder, name), 'w') as file:
            file.write(osp.join(folder, 'iter_1.pth'))
    with open(path, 'wb') as file:
        file.write(content)
    with pytest.raises(ValueError, match=f'^{re.escape(path)} (is empty, damaged|holds a list)'):
        run_grid(grid, 1, FakeProcess, 0)
    assert not fakes


def test_a_damaged_file_of_progress_is_ignored(tmp_path):
    job = Job(Run('a', 0, 'a.py'), 10)
    for content in ('', '[]', '{}'):
        (tmp_path / 'progress.json').write_text(content)
        job.read_progress(str(tmp_path))
    assert (job.step, job.seconds) == (0, 0)


def test_at_most_so_many_runs_as_jobs_are_trained_at_once_each_in_a_slot_of_its_own(fakes, tmp_path):
    running = set()

    class Counted(FakeProcess):
        def __init__(self, arguments, log, slot):
            super().__init__(arguments, log, slot, polls=1 + len(self.started) % 3)
            assert slot not in running and slot < 2
            running.add(slot)

        def poll(self):
            code = super().poll()
            if code is not None:
                running.discard(self.slot)
            return code

    assert run_grid(small_grid(tmp_path, *(f'a-{seed}' for seed in range(7))), 2, Counted, 0) == 0
    assert len(fakes) == 7 and {process.slot for process in fakes} == {0, 1}


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP])  # of a batch system, and of a closed terminal
def test_an_interruption_stops_the_runs_that_are_trained(number, fakes, tmp_path):
    class Interrupted(FakeProcess):
        def poll(self):
            if self.id == 'b-0':
                os.kill(os.getpid(), number)
            return super().poll()

    with pytest.raises(KeyboardInterrupt):
        run_grid(small_grid(tmp_path, 'a-0', 'b-0', 'c-0'), 2, lambda *args: Interrupted(*args, polls=9), 0)
    assert [(process.id, process.stopped) for process in fakes] == [('a-0', True), ('b-0', True)]


def test_the_runs_are_stopped_if_the_output_cannot_be_printed(fakes, tmp_path, monkeypatch):
    """As in `experiment.py GRID | head`."""

    def closed(*_):
        monkeypatch.setattr(scheduler.ProgressLine, 'say', closed)
        raise BrokenPipeError

    monkeypatch.setattr(scheduler.ProgressLine, 'show', closed)
    with pytest.raises(BrokenPipeError):
        run_grid(small_grid(tmp_path, 'a-0', 'b-0'), 2, lambda *args: FakeProcess(*args, polls=9), 0)
    assert [process.stopped for process in fakes] == [True, True]


def test_a_stopped_process_ends(tmp_path):
    process = LocalProcess([sys.executable, '-c', 'import time; time.sleep(60)'], str(tmp_path / 'log'), 0, 1)
    assert process.poll() is None
    process.stop()
    process.wait()
    assert process.poll() == -15


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (
            dict(options={'train_cfg.max_iters': 5}),
            r'a-0.json is of a run with overrides=\{\}, but .* a-0 has overrides=',
        ),
        (dict(merge=('x.py',)), r"merge=\[\], but in the grid a-0 has merge=\['x.py'\]"),
    ],
)
def test_results_of_other_settings_are_not_taken_for_those_of_the_grid(fakes, tmp_path, settings, message):
    grid = small_grid(tmp_path, 'a-0')
    os.makedirs(grid.results)
    with open(grid.result(grid.runs[0]), 'w') as file:
        json.dump(dict(grid.runs[0].settings, metrics={}), file)
    grid.check_earlier_runs()
    grid.runs = [Run('a', 0, 'a.py', **settings)]
    with pytest.raises(ValueError, match=message):
        run_grid(grid, 1, FakeProcess, 0)
    assert not fakes


def test_a_checkpoint_of_other_settings_is_not_resumed_but_a_start_without_checkpoint_may_change(tmp_path, monkeypatch):
    grid = small_grid(tmp_path, 'a-0')
    folder, json_of_run = grid.folder(grid.runs[0]), grid.result(grid.runs[0])

    def crash(run: Run, folder: str) -> dict:
        if run.config == 'corrected.py':
            with open(osp.join(folder, 'last_checkpoint'), 'w') as file:
                file.write('iter_2.pth')
        raise ZeroDivisionError

    monkeypatch.setattr(worker, '_train', crash)
    for config in ('first.py', 'corrected.py', 'corrected.py'):
        with pytest.raises(ZeroDivisionError):
            execute(Run('a', 0, config), folder, json_of_run)
    grid.runs = [Run('a', 0, 'other.py')]
    message = 'settings.json is of a run with config=corrected.py, but .* config=other.py'
    for start in (lambda: run_grid(grid, 1, FakeProcess, 0), lambda: execute(grid.runs[0], folder, json_of_run)):
        for _ in range(2):  # a refused start does not change the settings
            with pytest.raises(ValueError, match=message):
                start()


def test_the_time_left_is_that_of_the_steps_left_at_the_speed_of_each_name():
    slow, fast, unknown = Run('slow', 1, 's.py'), Run('fast', 0, 'f.py'), Run('new', 0, 'n.py')
    jobs = [Job(slow, 100), Job(fast, 100, step=50, seconds=50), Job(unknown, 10)]
    ended = Job(slow, 100, step=100, seconds=300, code=0)
    # slow: 100 steps of 3 s; fast: 50 of 1 s; new: 10 of their mean, 2 s
    assert seconds_left([*jobs, ended], 1) == pytest.approx(300 + 50 + 20)
    assert seconds_left([*jobs, ended], 2) == pytest.approx(300)  # of two at a time, the longest decides
    assert seconds_left([Job(unknown, 10)], 1) is None
    assert duration(3.6e3 * 2 + 60 * 5) == '2 h 05 min' and duration(100) == '2 min'
    assert duration(10) == 'less than 1 min'
    assert seconds_left([Job(slow, 100, step=1)], 1) is None  # a start has no measured time yet


def test_the_cores_are_shared_and_the_gpus_are_taken_in_turn(monkeypatch):
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    monkeypatch.setattr(processes, 'available_cores', lambda: 8)
    monkeypatch.setattr(processes.torch.cuda, 'device_count', lambda: 2)
    environments = [processes.local_environment(slot, 3) for slot in range(3)]
    assert [e['OMP_NUM_THREADS'] for e in environments] == ['2', '2', '2']
    assert [e['CUDA_VISIBLE_DEVICES'] for e in environments] == ['0', '1', '0']
    assert environments[0]['PYTHONPATH'].split(os.pathsep)[0] == ROOT
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '4,6')
    monkeypatch.setenv('OMP_NUM_THREADS', '5')
    assert processes.local_environment(1, 2)['CUDA_VISIBLE_DEVICES'] == '6'
    assert processes.local_environment(1, 2)['OMP_NUM_THREADS'] == '5'
    monkeypatch.delenv('OMP_NUM_THREADS')
    assert 'OMP_NUM_THREADS' not in processes.local_environment(0, 1)


def test_runs_go_through_submitit(fakes, tmp_path, monkeypatch):
    pytest.importorskip('submitit')

    def command(grid, run):
        code = 'raise ValueError("of the run")' if run.name == 'bad' else WRITES_ITS_RESULT
        os.makedirs(grid.results, exist_ok=True)
        return [sys.executable, '-c', code, grid.result(run)]

    monkeypatch.setattr(scheduler, 'command', command)
    grid = small_grid(tmp_path, 'a-0', 'bad-0', 'b-0')
    executor = submitit_executor(str(tmp_path / 'submitit'), dict(cluster='local', timeout_min=1))
    assert run_grid(grid, 3, lambda arguments, log, _: SubmititJob(executor, arguments, log), 0.1) == 1
    assert sorted(os.listdir(grid.results)) == ['a-0.json', 'b-0.json']
    with open(tmp_path / 'work/bad-0/log.txt') as file:
        assert file.read().strip().endswith('ValueError: of the run')


@pytest.mark.slow
def test_a_job_of_submitit_that_ran_out_of_time_is_submitted_again(tmp_path):
    pytest.importorskip('submitit')
    code = 'import os, sys, time; open(sys.argv[1], "a").write("x")\n'  # sleeps only in its first start
    code += 'time.sleep(60 if os.stat(sys.argv[1]).st_size == 1 else 0)'
    executor = submitit_executor(str(tmp_path / 'submitit'), dict(cluster='local'))
    executor._executor.parameters.update(timeout_min=0.1, signal_delay_s=2)  # told 2 s before its 6 s are over
    started = tmp_path / 'started'
    job = SubmititJob(executor, [sys.executable, '-c', code, str(started)], str(tmp_path / 'log'))
    deadline = time.time() + 30
    while job.poll() is None:
        assert time.time() < deadline
        time.sleep(0.1)
    assert job.poll() == 0 and started.read_text() == 'xx'


def test_without_submitit_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'submitit', None)
    with pytest.raises(ModuleNotFoundError, match='pip install submitit'):
        submitit_executor(str(tmp_path), {})


# The file of a grid.


def load_text(folder, text: str, suffix: str = '.py', **options) -> Grid:
    path = folder / f'grid{suffix}'
    path.write_text(text)
    return load_grid(str(path), options)


def test_configs_variants_and_seeds_are_multiplied(tmp_path):
    grid = load_text(
        tmp_path,
        """
_losses = 'model.losses'
configs = dict(
    a='a.py',
    b=dict(config='b.py', seeds=[7], options={'lr': 2}, merge=[], variants={'x': {f'{_losses}.w': 1}, 'y': {'lr': 3}}),
)
seeds = [0, 1]
options = {'lr': 1, 'size': (4, 4)}
merge = 'data.py'
""",
        size=(8, 8),
    )
    assert [run.id for run in grid.runs] == ['a-0', 'b_x-7', 'b_y-7', 'a-1']  # the first seed of all names first
    first, x, y, _ = grid.runs
    assert first == Run('a', 0, 'a.py', ('data.py',), {'lr': 1, 'size': (8, 8)})
    assert x.options == {'lr': 2, 'size': (8, 8), 'model.losses.w': 1} and x.merge == ()
    assert y.options == {'lr': 3, 'size': (8, 8)}
    assert grid.work_dir == 'work_dirs/grid' and grid.result(y) == 'work_dirs/grid/results/b_y-7.json'


def test_a_grid_can_be_yaml(tmp_path):
    text = 'configs:\n  a: a.py\n  b: {config: b.py, variants: {x: {lr: 0.1}}}\nseeds: [3]\nresults: out\n'
    grid = load_text(tmp_path, text, '.yaml')
    assert grid.runs == [Run('a', 3, 'a.py'), Run('b_x', 3, 'b.py', (), {'lr': 0.1})] and grid.results == 'out'


def test_yaml_and_json_are_data(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(tmp_path)
    marker = tmp_path / 'hacked'
    (tmp_path / 'evil_module.py').write_text(f'open({str(marker)!r}, "w")')
    texts = {
        '.yaml': f'configs: {{a: a.py}}\n_x: !!python/object/apply:os.system ["touch {marker}"]',
        '.yml': f'configs: {{a: !!python/object/new:os.system ["touch {marker}"]}}',
        '.json': '{"configs": {"a": "a.py"}, "custom_imports": {"imports": ["evil_module"]}}',
    }
    for suffix, text in texts.items():
        with pytest.raises(ValueError, match=f'grid{suffix}: unknown key custom_imports|is .*python'):
            load_text(tmp_path, text, suffix)
        with pytest.raises(SystemExit):
            call_tool(monkeypatch, tmp_path / f'grid{suffix}', '--list')
    assert not marker.exists()


@pytest.mark.parametrize(
    ('suffix', 'text', 'message'),
    [
        ('.json', '{"configs": ', r'grid\.json is .*Expecting value'),
        ('.json', '[' * 10**5, r'grid\.json is '),
        ('.json', '[1]', r'grid\.json: expected a dict with the keys configs, seeds'),
        ('.json', '{"_base_": "other.py"}', r'grid\.json: only a grid in Python can have a _base_'),
        ('.yaml', 'a: [', r'grid\.yaml is .*while parsing'),
        ('.yaml', '', r'grid\.yaml: expected a dict'),
        ('.yaml', '1: 2', r'grid\.yaml: expected a dict'),
        ('.yml', '\x00', r'grid\.yml is '),
    ],
)
def test_a_grid_that_is_no_yaml_or_json_is_an_error_of_one_line(tmp_path, suffix, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_text(tmp_path, text, suffix)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'configs must be a dict'),
        ('configs = dict(a=3)', r'configs.a must be the path of a config, or a dict with the key config, got 3'),
        ('configs = dict(a="a.py")\nseed = [1]', 'unknown key seed; possible: configs, seeds'),
        ('configs = dict(a=dict(config="a.py", seed=1))', 'configs.a: unknown key seed'),
        ('configs = dict(a="a.py")\nseeds = 3', 'seeds must be a list of integers'),
        ('configs = dict(a="a.py")\nseeds = [True]', 'seeds must be a list of integers'),
        ('configs = {"a/b": "a.py"}', "'a/b' is the name of a file"),
        ('configs = dict(a="a.py", a_x="b.py")\nvariants = {"": {}, "x": {}}', 'more than one run is named a_x-0'),
        ('configs = dict(a="a.py")\noptions = {"x": range(3)}', 'configs.a: options must be a dict of plain values'),
        ('configs = dict(a="a.py")\noptions = [1]', 'configs.a: options must be a dict of plain values'),
        ('configs = dict(a=dict(config="a.py", variants={}))', r'configs.a: variants must be a dict .* got \{\}'),
        ('configs = dict(a="a.py")\nvariants = ["x"]', r"variants must be a dict .* got \['x'\]"),
    ],
)
def test_a_grid_that_cannot_be_used_is_an_error_that_names_the_place(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        load_text(tmp_path, text)


def test_a_missing_grid_or_config_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='no grid nowhere.py'):
        load_grid('nowhere.py')
    with pytest.raises(FileNotFoundError, match='a-0: no config nowhere.py'):
        run_grid(Grid([Run('a', 0, 'nowhere.py')], 'work', 'results'), 1, FakeProcess)


def test_merged_configs_and_options_change_the_config_in_this_order(tmp_path):
    (tmp_path / 'a.py').write_text('randomness = dict(seed=1, deterministic=1, diff_rank_seed=1)')
    (tmp_path / 'data.py').write_text('randomness = dict(deterministic=2, diff_rank_seed=2)')
    options = {'randomness.diff_rank_seed': (3, 3)}
    run = Run('a', 0, str(tmp_path / 'a.py'), (str(tmp_path / 'data.py'),), options)
    assert run.load().to_dict() == dict(randomness=dict(seed=1, deterministic=2, diff_rank_seed=(3, 3)))
    with pytest.raises(ValueError, match='a-0: --cfg-options randomness.sed=1: .* nearest is randomness.seed'):
        Run('a', 0, str(tmp_path / 'a.py'), (), {'randomness.sed': 1}).load()


@pytest.mark.slow
@pytest.mark.parametrize(
    'name', ['grid', 'grid_1k', 'main', 'others', 'tuning', 'reading', 'paper_tables', 'paper_weights', 'below_student']
)
def test_the_grids_of_the_repository_can_be_trained(name, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    grid = load_grid(f'experiments/camvid_stride4/{name}.py')
    names = {run.name: run for run in grid.runs}
    for run in [names['student'], names['bpkd']] if name == 'grid_1k' else names.values():  # it has the configs of grid
        cfg = run.load()
        steps = 4000 if name == 'grid' else 1360 if run.name == 'student_same_time' else 1000
        assert cfg.param_scheduler[1].end == cfg.train_cfg.max_iters == steps
        tunes = name in ('tuning', 'reading')
        assert ('camvid_tuning/val.txt' in cfg.val_dataloader.dataset.get('ann_file', '')) == tunes
        assert cfg.test_dataloader == cfg.val_dataloader
        check_options_of_losses(run, cfg)
    check_committed_results(grid, tmp_path)


def test_the_grid_for_a_gpu_can_be_trained(monkeypatch):
    monkeypatch.chdir(ROOT)
    runs = {run.name: run for run in load_grid('experiments/camvid_r50/grid.py').runs}
    assert list(runs) == ['student', 'kd', 'nfd', 'cwd', 'bpkd']
    for run in runs.values():
        cfg = run.load()
        assert cfg.param_scheduler[0].end == cfg.train_cfg.max_iters == 20000
        check_options_of_losses(run, cfg)


@pytest.mark.parametrize('name', ['grid', 'settings'])
def test_the_grids_of_the_demo_can_be_trained(name, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    grid = load_grid(f'experiments/demo/{name}.py')
    for run in {run.name: run for run in grid.runs}.values():
        check_options_of_losses(run, run.load())
    check_committed_results(grid, tmp_path)


def check_options_of_losses(run: Run, cfg: Config) -> None:
    for key in run.options:
        if key.startswith('model.distiller.losses.'):
            _, _, _, loss, argument = key.split('.')
            assert argument in signature(MODELS.get(cfg.model.distiller.losses[loss].type)).parameters


def check_committed_results(grid: Grid, folder) -> None:
    assert len({run.id for run in grid.runs}) == len(grid.runs) > 1
    assert any(grid.is_finished(run) for run in grid.runs) == osp.isdir(grid.results)
    grid.work_dir = str(folder)  # without checkpoints of this machine
    grid.check_earlier_runs()


# The recorder.


def resumed_recorder(folder, record, iteration: int = 3) -> RunRecorder:
    recorder = RunRecorder(str(folder / 'progress.json'))
    recorder.after_load_checkpoint(None, dict(meta=dict(run_record=record)))
    loop = IterBasedTrainLoop.__new__(IterBasedTrainLoop)
    loop._iter, loop._max_iters = iteration, 5
    runner = Runner.__new__(Runner)
    runner._train_loop, runner._load_from = loop, 'iter_3.pth'
    recorder.before_train(runner)
    return recorder


def test_a_checkpoint_that_gives_only_the_initial_weights_does_not_continue_the_record(tmp_path):
    earlier = dict(training_seconds=100.0, total_seconds=200.0, peak_memory=5.0, curve=[dict(step=1)])
    for iteration, expected in ((0, 0.0), (3, 100.0)):
        recorder = resumed_recorder(tmp_path, earlier, iteration)
        assert recorder.training_seconds == expected
        assert json.loads((tmp_path / 'progress.json').read_text()) == dict(
            step=iteration, steps=5, seconds=2 * expected
        )


def test_a_checkpoint_cannot_name_the_file_that_the_recorder_writes(tmp_path):
    (tmp_path / 'own.txt').write_text('mine')
    recorder = resumed_recorder(tmp_path, dict(progress=str(tmp_path / 'own.txt'), start='x', peak_memory=7))
    assert (recorder.progress, recorder.start, recorder.peak_memory) == (str(tmp_path / 'progress.json'), {}, 7)
    assert (tmp_path / 'own.txt').read_text() == 'mine'


@pytest.mark.parametrize(
    'record',
    [
        'text',
        [1],
        dict(training_seconds='1'),
        dict(total_seconds=float('nan')),
        dict(peak_memory=-1.0),
        dict(peak_memory=True),
        dict(curve='text'),
        dict(curve=[1]),
        dict(curve=[dict(seconds=1)]),
        dict(curve=[dict(step='1')]),
        dict(starts=[dict(step=1, device=['x'])]),
        dict(starts=[{'step': 1, 2.5: 'x', (1,): 3}]),
    ],
    ids=str,
)
def test_a_record_that_no_grid_wrote_is_an_error_with_the_name_of_the_checkpoint(record, tmp_path):
    with pytest.raises(ValueError, match=r'^iter_3\.pth has a meta\.run_record that no grid wrote'):
        resumed_recorder(tmp_path, record)


def test_the_commit_is_that_of_this_checkout_only(monkeypatch, tmp_path):
    git = subprocess.run(['git', '-C', ROOT, 'rev-parse', 'HEAD'], capture_output=True, text=True)
    if git.returncode:
        pytest.skip('this is not a checkout')
    assert worker.commit().removesuffix('-dirty') == git.stdout[:12]
    inner = tmp_path / 'inner'
    inner.mkdir()
    subprocess.run(['git', 'init', '-q', str(tmp_path)], check=True)
    monkeypatch.setattr(worker, 'ROOT', str(inner))
    assert worker.commit() is None
