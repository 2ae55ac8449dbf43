"""What the documentation shows, runs, and was measured."""

import json
import os.path as osp
import re

import pytest
import runs
import torch
from conftest import ROOT

from benchmarks import tables


def code_blocks(path: str) -> list:
    return re.findall(r'```python\n(.*?)```', open(osp.join(ROOT, path)).read(), re.DOTALL)


def test_the_example_of_a_new_method_trains(tmp_path):
    loss, config = code_blocks('docs/adding_a_method.md')
    lines = [line for line in (loss + config).splitlines() if line.strip()]
    assert len(lines) <= 30
    (tmp_path / 'my_method.py').write_text(loss)
    leaf = tmp_path / 'leaf.py'
    leaf.write_text(config.replace("'_base_/", f"'{ROOT}/configs/_base_/"))
    path = runs.write_config(tmp_path, 4, leaf)
    done = runs.call('train.py', path, '--work-dir', tmp_path / 'run', python_path=tmp_path)
    values = [float(value) for value in re.findall(r'distill.loss_mine: ([\d.]+)', done.stdout)]
    assert len(values) == 4 and min(values) > 0
    state = torch.load(tmp_path / 'run/iter_4.pth')['state_dict']
    assert state['distiller.distill_losses.loss_mine.projector.weight'].shape == (16, 8, 1, 1)


@pytest.mark.parametrize('name', tables.TABLES)
def test_every_table_of_a_benchmark_is_what_its_results_print(name):
    text = open(osp.join(ROOT, 'README.md' if name == 'budgets' else 'docs/speed.md')).read()
    shown = [line.strip() for line in text.splitlines()]
    printed = [line for line in tables.lines(name) if line]
    results = json.loads((tables.RESULTS / f'{name}_2_cores.json').read_text())[name]
    assert len(printed) == 2 * len(tables.TABLES[name]) + len(tables.rows(name, results))  # no result is left out
    assert len(printed) > 2 and not [line for line in printed if line not in shown]
