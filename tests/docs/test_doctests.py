"""The examples in the docstrings of the package run and print what they say."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest
from conftest import ROOT
from mmengine.logging import MMLogger

MODULES = [
    path.relative_to(ROOT).with_suffix('').as_posix().replace('/', '.')
    for path in sorted(Path(ROOT, 'mmseg_bpkd').rglob('*.py'))
    if '>>>' in path.read_text(encoding='utf-8')
]


@pytest.fixture(autouse=True)
def _keep_log_level():
    """Some examples hide the log."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.mark.parametrize('name', MODULES)
def test_examples_of_the_module_run(name):
    results = doctest.testmod(import_module(name))
    assert results.attempted > 0 and results.failed == 0
