"""What the documentation shows, runs."""
import os.path as osp
import re

import runs
import torch
from conftest import ROOT


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
