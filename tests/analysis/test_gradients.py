"""The gradient norms of losses, compared with backward passes of one loss at a time."""

import json
import subprocess
import sys

import pytest
import runs
import tiny
import torch
from conftest import ROOT

from mmseg_bpkd.analysis.gradients import gradient_norms, measure_gradients
from mmseg_bpkd.config.reading import read_config

CRITIC = dict(type='SKDSCriticLoss', student_weight=0.1, critic_weight=1.0)


def model(folder, **changes):
    losses = dict(loss_bpkd=dict(type='BPKDLoss'), loss_adversarial=CRITIC)
    built = tiny.distillation(tiny.save_teacher(folder / 'teacher.pth'), losses, early_gradients=False, **changes)
    torch.manual_seed(5)  # of the dropout
    return built


def test_the_norms_equal_those_of_one_backward_pass_per_loss(tmp_path):
    measured = gradient_norms(model(tmp_path), [tiny.batch()])
    assert {'task', 'student.decode.loss_ce', 'distill.loss_bpkd_edge', 'distill.loss_bpkd_body'} <= measured.keys()
    for name, result in measured.items():
        fresh = model(tmp_path).train()
        losses = fresh.loss(**fresh.data_preprocessor(tiny.batch(), training=True))
        names = ['student.decode.loss_ce', 'student.aux.loss_ce'] if name == 'task' else [name]
        value = sum(losses[key] for key in names)
        value.backward()
        gradients = [p.grad.flatten() for p in fresh.student.parameters() if p.grad is not None]
        norm = torch.cat(gradients).norm().item() if gradients else 0
        assert result == dict(value=pytest.approx(value.item(), rel=1e-5), norm=pytest.approx(norm, rel=1e-4)), name
    assert measured['distill.loss_bpkd_edge']['norm'] > 0


def test_batches_are_averaged(tmp_path):
    first, second = ([tiny.batch(seed=seed)] for seed in (3, 4))
    distillation = model(tmp_path)
    for module in distillation.modules():
        if hasattr(module, 'dropout_ratio'):
            module.dropout = None  # else the batches would have other masks
    one, other, both = (gradient_norms(distillation, batches) for batches in (first, second, first + second))
    name = 'distill.loss_bpkd_body'
    assert one[name]['norm'] != pytest.approx(other[name]['norm'], rel=0.01)
    assert both[name]['norm'] == pytest.approx((one[name]['norm'] + other[name]['norm']) / 2, rel=1e-5)


def run(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, f'{ROOT}/tools/analysis/gradients.py', *map(str, arguments), '--batches', '2']
    return subprocess.run(command, capture_output=True, text=True, env=runs.ENVIRONMENT, cwd=ROOT)


@pytest.mark.slow
def test_the_tool_prints_what_it_writes_and_a_weight_scales_its_row(tmp_path):
    config = runs.write_config(tmp_path)
    done = run(config, '--out', tmp_path / 'out.json')
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / 'out.json').read_text())['gradients'][config]
    row = written['distill.loss_bpkd_edge']
    relative = row['norm'] / written['task']['norm']
    assert (
        f'| config | distill.loss_bpkd_edge | {row["value"]:.4g} | {row["norm"]:.4g} | {relative:.3g} |' in done.stdout
    )
    options = {'model.distiller.losses.loss_bpkd.edge_weight': 10}
    twice = measure_gradients(read_config(config, options), None, 2)
    assert twice['distill.loss_bpkd_edge']['norm'] == pytest.approx(2 * row['norm'], rel=1e-5)
    assert twice['task']['norm'] == pytest.approx(written['task']['norm'], rel=1e-5)


@pytest.mark.slow
def test_what_cannot_be_measured_is_an_error_of_one_line(tmp_path):
    config = runs.write_config(tmp_path)
    plain = run(f'{ROOT}/configs/pspnet/pspnet_r18w8_1xb8-600_synthetic-112x112.py')
    assert plain.returncode == 1 and 'expected the config of a distillation' in plain.stderr
    absent = run(config, '--checkpoint', tmp_path / 'absent.pth')
    assert absent.returncode == 1 and 'absent.pth' in absent.stderr
    other = run(config, '--checkpoint', tmp_path / 'teacher.pth')
    assert other.returncode == 1 and 'teacher.pth' in other.stderr
    assert all('Traceback' not in failed.stderr for failed in (plain, absent, other))


@pytest.mark.parametrize('checkpoint', ['student alone', 'distillation'])
def test_the_students_weights_are_loaded(tmp_path, checkpoint):
    config = runs.write_config(tmp_path)
    model = tiny.distillation(str(tmp_path / 'teacher.pth'), num_classes=9)
    state = model.student.state_dict() if checkpoint == 'student alone' else model.state_dict()
    torch.save(dict(state_dict=state), tmp_path / 'student.pth')
    start, loaded = (measure_gradients(read_config(config, {}), path, 1) for path in (None, f'{tmp_path}/student.pth'))
    assert start['task']['norm'] != pytest.approx(loaded['task']['norm'], rel=0.01)
