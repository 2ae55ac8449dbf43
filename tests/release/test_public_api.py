"""The names that `mmseg_bpkd` promises."""

import re
import subprocess
import sys
from os import path as osp

import pytest
from conftest import ROOT

import mmseg_bpkd
from mmseg_bpkd.models import losses


@pytest.mark.parametrize('name', mmseg_bpkd.__all__)
def test_every_public_name_can_be_imported_and_is_documented(name):
    assert getattr(mmseg_bpkd, name).__name__ == name and getattr(mmseg_bpkd, name).__doc__
    with open(osp.join(ROOT, 'docs/api.md')) as file:
        modules = re.findall(r'automodule:: (\S+)', file.read())
    assert any(name in sys.modules[module].__dict__ for module in modules)


def test_all_losses_are_public():
    assert set(losses.__all__) <= set(mmseg_bpkd.__all__)


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'mmseg_bpkd' has no attribute 'BPKLoss'"):
        _ = mmseg_bpkd.BPKLoss


@pytest.mark.parametrize(
    'arguments', [['--help'], ['train', '--help'], ['experiment', '--help'], ['figures', '--help']]
)
def test_help_imports_none_of_the_frameworks(arguments):
    code = """
import sys
from mmseg_bpkd.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit:
    print(sorted({'torch', 'mmengine', 'mmcv', 'mmseg', 'mmrazor', 'matplotlib'} & {*sys.modules}))"""
    done = subprocess.run([sys.executable, '-c', code, *arguments], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == '[]', done.stdout + done.stderr


def test_the_losses_import_neither_networks_nor_the_runner():
    code = """
import sys
import mmseg_bpkd.models.losses
print(sorted({'mmcv', 'mmrazor', 'mmseg', 'mmengine.runner'} & {*sys.modules}))"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == '[]\n', done.stdout + done.stderr
