"""The command `bpkd`."""

import json
import re
import subprocess
import sys

import pytest
import runs

import mmseg_bpkd
from mmseg_bpkd.cli import main


def bare(*args) -> subprocess.CompletedProcess:
    """Runs the command in a process of its own."""
    command = [sys.executable, '-c', 'from mmseg_bpkd.cli.main import main; main()', *args]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize('arguments', [[], ['--help']])
def test_the_help_has_a_line_for_each_command(arguments):
    done = bare(*arguments)
    lines = dict(re.findall(r'^  ([\w-]+) +(\S.*)$', done.stdout.split('commands:')[1], re.MULTILINE))
    assert done.returncode == 0 and list(lines) == [
        'train',
        'test',
        'export',
        'predict',
        'new',
        'check',
        'complexity',
        'gradients',
        'figures',
        'demo',
        'experiment',
        'convert-camvid',
    ]
    assert lines['check'] == 'Check the data sets of a config for errors.'


def test_the_version_is_that_of_the_package():
    assert bare('--version').stdout == f'mmseg_bpkd {mmseg_bpkd.__version__}\n'


def test_an_unknown_command_ends_with_code_2():
    done = bare('trian')
    assert done.returncode == 2 and "invalid choice: 'trian' (choose from 'train', 'test'" in done.stderr


def test_a_command_runs_its_tool_and_ends_with_its_code(bpkd, capsys, tmp_path):
    arguments = ['--samples', '0', '--workers', '0']
    assert bpkd('check', 'mmseg_bpkd::_base_/datasets/synthetic_160x120.py', *arguments) == 0
    assert 'written to work_dirs/check_dataset/synthetic_160x120: report.json' in capsys.readouterr().out
    assert (tmp_path / 'work_dirs/check_dataset/synthetic_160x120/report.json').is_file()
    assert bpkd('check', 'mmseg_bpkd::_base_/datasets/camvid_240x320.py', *arguments) == 1
    assert 'data/camvid' in capsys.readouterr().out


@pytest.mark.parametrize('command', main.COMMANDS)
def test_help_names_the_command_as_it_is_called(command, bpkd, capsys):
    assert bpkd(command, '--help') == 0
    text = capsys.readouterr().out
    assert f'usage: bpkd {command} [-h]' in text and re.search(f'^    bpkd {command}( |$)', text, re.MULTILINE)
    assert 'python tools/' not in text


@pytest.mark.parametrize('command', ['train', 'test', 'export', 'predict', 'complexity', 'gradients'])
def test_a_config_that_does_not_exist_is_named(command, bpkd, tmp_path):
    (tmp_path / 'images').mkdir()
    others = {'test': ['x.pth'], 'export': ['x.pth', 'y.pth'], 'predict': ['x.pth', 'images']}
    assert bpkd(command, 'nowhere.py', *others.get(command, [])).startswith('error: no config nowhere.py')


def test_modules_of_the_working_directory_can_be_imported_by_a_config(bpkd, tmp_path):
    (tmp_path / 'own_module.py').write_text('raise RuntimeError("own module imported")')
    (tmp_path / 'own.py').write_text(
        "_base_ = 'mmseg_bpkd::_base_/datasets/synthetic_160x120.py'\ncustom_imports = dict(imports=['own_module'])"
    )
    with pytest.raises(RuntimeError, match='own module imported'):
        bpkd('train', 'own.py')


LEAF = 'mmseg_bpkd::bpkd/bpkd_pspnet-r18w16_pspnet-r18w8_1xb8-600_synthetic-112x112.py'


def test_check_takes_a_method_and_options(bpkd, capsys, tmp_path):
    options = ['--samples', 0, '--workers', 0, '--cfg-options', 'val_dataloader.dataset.num_scenes=7']
    assert bpkd('check', LEAF, '--method', 'cwd', *options) == 0
    assert '7 samples drawn' in capsys.readouterr().out
    name = 'cwd_pspnet-r18w16_pspnet-r18w8_1xb8-600_synthetic-112x112'
    assert (tmp_path / 'work_dirs/check_dataset' / name / 'report.json').is_file()
    assert bpkd('check', 'mmseg_bpkd::_base_/datasets/synthetic_160x120.py', '--method', 'cwd') == 2
    assert 'has the model None, expected the config of a distillation' in capsys.readouterr().err


def test_complexity_takes_a_method_and_options(bpkd, capsys):
    arguments = ['--runs', 0, '--out', 'complexity.json', '--size', 32, 32]
    parameters = []
    for options in ([], ['--method', 'cwd', '--cfg-options', 'model.num_classes=4']):
        assert not bpkd('complexity', LEAF, *arguments, *options)
        parameters.append(json.load(open('complexity.json'))[1]['parameters'])
    # Weights and bias of five classes fewer, in the head (16 channels) and the auxiliary head (8).
    assert parameters[0] - parameters[1] == 5 * (16 + 1) + 5 * (8 + 1)
    assert bpkd('complexity', LEAF, '--method', 'cwdd').startswith('error: --method cwdd: unknown method; the nearest')


def test_gradients_takes_a_method_and_options(bpkd, capsys, tmp_path):
    config = runs.write_config(tmp_path)
    assert not bpkd('gradients', config, '--batches', 1, '--method', 'kd')
    first = capsys.readouterr().out
    option = 'model.distiller.losses.loss_kd.weight=0'
    assert not bpkd('gradients', config, '--batches', 1, '--method', 'kd', '--cfg-options', option)
    second = capsys.readouterr().out
    assert re.search(r'^\| kd_config \| distill.loss_kd \| [\d.]+ ', first, re.MULTILINE) and 'loss_bpkd' not in first
    assert '| kd_config | distill.loss_kd | 0 | 0 |' in second
