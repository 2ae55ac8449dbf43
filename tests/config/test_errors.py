"""Errors that users can mend are one line; errors of programs keep their traceback."""

import types

import pytest
import runs
import tiny
import torch
from mmengine.registry import MODELS
from torch.utils.data import DataLoader

from mmseg_bpkd.config import errors
from mmseg_bpkd.config.errors import short_errors
from mmseg_bpkd.datasets.check.splits import Places
from mmseg_bpkd.datasets.transforms import SeedAugmentation
from mmseg_bpkd.models.segmentors import build_segmentor


class Samples:
    """A data set whose samples fail in a worker."""

    def __init__(self, load) -> None:
        self.load = load

    def __len__(self) -> int:
        return 1

    def __getitem__(self, i: int):
        return self.load(i)


def stated(_=0):
    SeedAugmentation()(dict(sample_idx=3))


def of_a_program(_=0):
    Places.of(None, '')  # the attribute is looked up in a line of the package


def of_a_library(_=0):
    build_segmentor(dict(type='EncoderDecoder', backbone=dict(type='ResNet')))


def in_worker(load):
    return lambda: list(DataLoader(Samples(load), num_workers=1))


@pytest.mark.parametrize('fail', [stated, in_worker(stated)], ids=['here', 'in a worker'])
def test_an_error_that_the_package_states_is_one_line(fail):
    with pytest.raises(SystemExit) as stop, short_errors():
        fail()
    assert stop.value.code.startswith(
        'error: SeedAugmentation needs a dataset index with a seed, got the plain index 3'
    )
    assert '\n' not in stop.value.code


@pytest.mark.parametrize(
    ('fail', 'kind'),
    [
        (of_a_program, AttributeError),
        (in_worker(of_a_program), AttributeError),
        (of_a_library, TypeError),
        (in_worker(of_a_library), TypeError),
    ],
)
def test_another_error_keeps_its_traceback(fail, kind):
    with pytest.raises(kind), short_errors():
        fail()


def test_an_error_of_a_named_kind_is_one_line_whoever_raised_it():
    with (
        pytest.raises(SystemExit, match=r"^error: \[Errno 2\] No such file .* 'nowhere'$"),
        short_errors(None, FileNotFoundError),
    ):
        open('nowhere')


def two_sizes():
    preprocessor = MODELS.build(dict(tiny.PREPROCESSOR, size=None, test_cfg=None))
    preprocessor(dict(inputs=[torch.zeros(3, extent, extent) for extent in (8, 9)], data_samples=[]), training=False)


def unused_parameter(monkeypatch):
    for name, value in dict(RANK=0, WORLD_SIZE=1, MASTER_ADDR='127.0.0.1', MASTER_PORT=runs.free_port()).items():
        monkeypatch.setenv(name, str(value))
    torch.distributed.init_process_group('gloo')
    try:
        model = torch.nn.Linear(1, 1)
        model.register_parameter('unused', torch.nn.Parameter(torch.zeros(1)))
        model = torch.nn.parallel.DistributedDataParallel(model)
        for _ in range(2):
            model(torch.ones(1, 1)).sum().backward()
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    ('fail', 'kind', 'line'),
    [
        (
            lambda _: two_sizes(),
            AssertionError,
            'the images of a batch of .* different sizes: set batch_size=1 in val_d',
        ),
        (unused_parameter, RuntimeError, 'some trained .*: add --cfg-options find_unused_parameters=True, or remove'),
    ],
)
def test_a_known_error_of_a_library_gets_a_line_of_advice(fail, kind, line, monkeypatch):
    with pytest.raises(kind):
        fail(monkeypatch)
    with pytest.raises(SystemExit, match=f'^error: {line}') as stop, short_errors():
        fail(monkeypatch)
    assert '\n' not in stop.value.code


@pytest.mark.parametrize(('launcher', 'waits'), [('none', []), ('pytorch', [10]), ('slurm', [])])
def test_the_rank_of_a_launcher_that_is_not_used_has_no_meaning(launcher, waits, monkeypatch, tmp_path):
    monkeypatch.setenv('RANK', '1')
    monkeypatch.setenv('MMSEG_BPKD_ERROR_FILE', str(tmp_path / 'error'))
    waited, reset = [], []
    monkeypatch.setattr(errors, 'time', types.SimpleNamespace(sleep=waited.append))
    monkeypatch.setattr(
        errors, 'signal', types.SimpleNamespace(signal=lambda *args: reset.append(args), SIGTERM=15, SIG_DFL=0)
    )
    with pytest.raises(SystemExit, match='^error: SeedAugmentation needs'), short_errors(launcher=launcher):
        stated()
    assert waited == waits and reset == [(15, 0) for _ in waits]
    assert (tmp_path / 'error').read_text().startswith('error: SeedAugmentation needs')


def test_a_rank_that_another_program_left_behind_changes_nothing(bpkd, monkeypatch):
    monkeypatch.setenv('RANK', '1')
    monkeypatch.setattr(errors.time, 'sleep', lambda seconds: pytest.fail('waits for a first process'))
    for command, more in (('train', []), ('test', ['x.pth'])):
        assert bpkd(command, 'nowhere.py', *more).startswith('error: no config nowhere.py')


def test_a_launcher_that_started_no_process_is_named(bpkd, tmp_path, monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    error = bpkd('train', runs.write_config(tmp_path), '--launcher', 'pytorch')
    assert error.startswith('error: --launcher pytorch: the variable RANK, which this launcher sets, is missing. Start')


def test_an_error_while_a_training_is_prepared_is_one_line(bpkd, tmp_path):
    error = bpkd('train', runs.write_config(tmp_path), '--cfg-options', "model.compile_networks=['techer']")
    assert error == "error: compile_networks must name 'teacher', 'student' or both, got ['techer']"
