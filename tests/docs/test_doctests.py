"""The examples in the docstrings of the public functions run and print what they say."""

import doctest
from importlib import import_module

import pytest
from mmengine.logging import MMLogger

MODULES = [
    'mmseg_bpkd.ops.boundary',
    'mmseg_bpkd.models.losses.functional',
    'mmseg_bpkd.evaluation.metrics.boundary_iou',
    'mmseg_bpkd.evaluation.metrics.trimap_iou',
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
