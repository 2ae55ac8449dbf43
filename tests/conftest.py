import logging
import os
import os.path as osp
import sys

import pytest

ROOT = osp.dirname(osp.dirname(osp.abspath(__file__)))
# The folders of tests: some use a helper of another test file.
sys.path[:0] = [ROOT, *(folder for folder, _, _ in os.walk(osp.join(ROOT, 'tests')) if '__' not in folder)]

pytest.register_assert_rewrite('catalog')

import mmseg_bpkd.engine  # noqa: F401
import catalog
from mmseg_bpkd.cli import main
import torch
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope


torch.set_num_threads(1)  # for fixtures of modules, which run before the next one; more threads give other last digits


@pytest.fixture(autouse=True)
def _same_state_for_every_test():
    torch.manual_seed(0)
    torch.set_num_threads(1)  # more threads slow down tiny tensors
    init_default_scope('mmseg')
    logger = MMLogger.get_current_instance()
    for handler in logger.handlers[:]:
        if isinstance(handler, logging.FileHandler) and handler.stream is None:
            logger.removeHandler(handler)  # the closed log of a Runner, to which `init_weights` would write


@pytest.fixture
def given() -> dict:
    """Records of two images for a loss, from `catalog`."""
    return catalog.records()


@pytest.fixture
def bpkd(tmp_path, monkeypatch):
    """A function that runs the command in this process, from an empty folder. It returns what `sys.exit` gets: the exit
    code, or the line of an error.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', sys.path[:])
    monkeypatch.setattr(sys, 'argv', sys.argv)

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            main.main([str(argument) for argument in arguments])
        return stop.value.code

    return run


@pytest.fixture(scope='session')
def camvid() -> str:
    """The folder of the converted CamVid: the environment variable CAMVID, or data/camvid in the checkout."""
    folder = osp.abspath(os.environ.get('CAMVID') or osp.join(ROOT, 'data/camvid'))
    if not osp.isdir(osp.join(folder, 'images/train')):
        pytest.skip(f'needs CamVid: {folder}/images/train does not exist; set CAMVID to the folder of the dataset')
    return folder
