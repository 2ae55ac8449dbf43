"""The tool that measures, measured."""
import json
import os.path as osp
import sys
from functools import partial

import pytest
import runs
import torch
from conftest import ROOT

sys.path.append(osp.join(ROOT, 'tools/analysis'))

from benchmarks.measuring import milliseconds_in_turn, peak_growth, ratio  # noqa: E402


def test_what_is_compared_runs_in_turn_after_a_warm_up():
    order = []
    times = milliseconds_in_turn({name: partial(order.append, name) for name in 'AB'}, 2)
    assert order == list('ABABAB') and [len(times[name]) for name in 'AB'] == [2, 2]


def test_a_ratio_is_the_median_over_the_turns():
    assert ratio([10., 30., 4.], [1., 10., 2.]) == dict(ms=10, ratio=3, ratio_least=2, ratio_most=10)


def allocate(megabytes: int):
    return lambda: torch.ones(megabytes * 2**18).sum()


def test_memory_is_what_a_process_grows_by_at_its_peak():
    grown = peak_growth(partial(allocate, 100), partial(torch.ones, 300 * 2**18))
    assert grown == pytest.approx(100, abs=10)


def test_losses_and_steps_are_measured_beside_the_first(tmp_path):
    done = runs.call('analysis/benchmark.py', 'losses', 'fitnet', '--runs', 1, '--out', tmp_path / 'losses.json')
    result, = json.load(open(tmp_path / 'losses.json'))['losses']
    assert 'fitnet: ' in done.stdout and result['method'] == 'fitnet' and result['ratio'] > 1 < result['megabytes']
    config = runs.write_config(tmp_path)
    runs.call('analysis/benchmark.py', 'step', config, '--runs', 1, '--out', tmp_path / 'step.json')
    result, = json.load(open(tmp_path / 'step.json'))['step']
    assert result['config'] == 'config' and result['ratio'] == 1 and result['ms'] > 0


def test_an_unknown_method_is_refused_with_those_that_there_are():
    done = runs.call('analysis/benchmark.py', 'losses', 'kdd', check=False)
    assert done.returncode == 2 and 'kdd' in done.stderr and 'local_affinity' in done.stderr
