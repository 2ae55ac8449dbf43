"""The command `bpkd`."""

import re
import subprocess
import sys

import pytest

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
