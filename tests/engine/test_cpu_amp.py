"""Mixed precision on a CPU: the forward pass in bfloat16; losses, weights and checkpoints in float32."""

from types import SimpleNamespace

import pytest
import runs
import tiny
import torch
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper
from mmengine.registry import OPTIM_WRAPPERS

from mmseg_bpkd.engine import optim
from mmseg_bpkd.engine.train import apply_training_options
from mmseg_bpkd.models.losses import BPKDLoss

on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU, mixed precision is MMEngine's")
needs_bfloat16 = pytest.mark.skipif(not optim.cpu_has_bfloat16(), reason='this CPU has no bfloat16 instructions')


def wrapper_of(amp: bool, **optim_wrapper) -> dict:
    cfg = Config(dict(optim_wrapper=dict(dict(type='OptimWrapper', clip_grad=None), **optim_wrapper)))
    options = dict(seed=None, from_scratch=False, deterministic=False, amp=amp, auto_scale_lr=False, resume=None)
    apply_training_options(cfg, SimpleNamespace(**options))
    return cfg.optim_wrapper.to_dict()


@on_cpu
@pytest.mark.parametrize(
    ('amp', 'given'),
    [
        (True, {}),
        (True, dict(dtype='bfloat16', loss_scale=512.0)),
        (False, dict(type='AmpOptimWrapper', dtype='bfloat16')),
        (False, dict(type=AmpOptimWrapper, dtype=torch.bfloat16)),
    ],
    ids=['flag', 'flag and dtype', 'config', 'types'],
)
def test_amp_on_a_cpu_is_bfloat16(amp, given):
    assert wrapper_of(amp, **given) == dict(type='CPUAmpOptimWrapper', clip_grad=None)


@on_cpu
def test_float16_on_a_cpu_is_refused_with_the_reason():
    with pytest.raises(
        ValueError, match='dtype is float16, but a CPU trains in bfloat16 only: float16 needs a scaled loss'
    ):
        wrapper_of(True, dtype='float16')


def test_on_a_gpu_amp_is_mmengines(monkeypatch):
    monkeypatch.setattr('mmseg_bpkd.engine.train.get_device', lambda: 'cuda')
    expected = dict(type='AmpOptimWrapper', clip_grad=None, loss_scale='dynamic', dtype='float16')
    assert wrapper_of(True, dtype='float16') == expected
    monkeypatch.setattr(optim, 'get_device', lambda: 'cuda')
    with pytest.raises(ValueError, match='set optim_wrapper.type to AmpOptimWrapper'):
        build(torch.nn.Linear(1, 1))


@on_cpu
@pytest.mark.parametrize('has_instructions', [True, False])
def test_a_cpu_without_bfloat16_instructions_is_warned_of(has_instructions, monkeypatch):
    warnings = []
    monkeypatch.setattr(optim, 'cpu_has_bfloat16', lambda: has_instructions)
    monkeypatch.setattr(optim, 'print_log', lambda text, **_: warnings.append(text))
    build(torch.nn.Linear(1, 1))
    assert ['no bfloat16 instructions' in text for text in warnings] == ([] if has_instructions else [True])


def build(model: torch.nn.Module):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    return OPTIM_WRAPPERS.build(dict(type='CPUAmpOptimWrapper', optimizer=optimizer))


@on_cpu
@needs_bfloat16
def test_both_networks_run_in_bfloat16_and_the_losses_are_those_of_float32(tmp_path):
    """The oracle is the loss outside autocast, on the logits that both networks computed."""
    model = tiny.distillation(tiny.save_teacher(tmp_path / 'teacher.pth'))
    model.train()
    logits = {}
    for side, network in (('S', model.student), ('T', model.teacher)):
        network.decode_head.conv_seg.register_forward_hook(
            lambda module, given, output, side=side: logits.update({f'preds_{side}': output.detach()})
        )
    before = {name: value.clone() for name, value in model.state_dict().items()}
    data = tiny.batch()
    log = model.train_step(data, build(model))
    assert {x.dtype for x in logits.values()} == {torch.bfloat16}
    gt = torch.cat([sample.gt_sem_seg.data for sample in data['data_samples']])
    expected = BPKDLoss().terms(**{name: x.float() for name, x in logits.items()}, gt=gt)
    for term, value in expected.items():
        assert log[f'distill.loss_bpkd_{term}'].dtype == torch.float32
        torch.testing.assert_close(log[f'distill.loss_bpkd_{term}'], value, rtol=1e-6, atol=0)
    enlarged = torch.nn.functional.interpolate(logits['preds_S'].float(), gt.shape[1:], mode='bilinear')
    # MMSegmentation averages over all pixels, void ones included.
    cross_entropy = torch.nn.functional.cross_entropy(enlarged, gt, ignore_index=255, reduction='none').mean()
    torch.testing.assert_close(log['student.decode.loss_ce'], cross_entropy, rtol=1e-5, atol=0)
    after = model.state_dict()
    assert all(after[name].dtype == value.dtype and torch.isfinite(after[name]).all() for name, value in before.items())
    assert any(not torch.equal(after[name], value) for name, value in before.items())


@on_cpu
@needs_bfloat16
@pytest.mark.slow
def test_training_in_bfloat16_resumes_exactly_and_continues_in_float32(tmp_path):
    config = runs.write_config(tmp_path, 4)
    for folder, more in (('whole', []), ('half', ['train_cfg.max_iters=2'])):
        options = ['--cfg-options', 'train_cfg.val_interval=2', *more]
        runs.call('train.py', config, '--amp', '--work-dir', tmp_path / folder, *options)
    half = tmp_path / 'half/iter_2.pth'
    for folder, options in (('resumed', ['--amp']), ('float32', [])):
        runs.call('train.py', config, '--work-dir', tmp_path / folder, '--resume', half, *options)
    whole, resumed, float32 = (runs.student(tmp_path / f'{run}/iter_4.pth') for run in ('whole', 'resumed', 'float32'))
    assert runs.same(resumed, whole) and not runs.same(float32, whole)
