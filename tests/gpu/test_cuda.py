"""Tests on a GPU. They are skipped if there is none."""

import copy

import catalog
import pytest
import tiny
import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper, build_optim_wrapper

from mmseg_bpkd.models.losses import BPKDLoss
from mmseg_bpkd.ops.boundary import boundary_band, edge_masks

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')


@pytest.fixture(autouse=True)
def _no_tf32():
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


@pytest.mark.parametrize('void_edges', [False, True])
@pytest.mark.parametrize(('num_classes', 'size'), [(19, (8, 16)), (19, (9, 13)), (31, (8, 16)), (150, (16, 16))])
def test_masks_and_bands_equal_those_of_the_cpu(num_classes, size, void_edges):
    gt = torch.randint(0, min(num_classes, 30), (2, 16, 32)).repeat_interleave(4, 1).repeat_interleave(4, 2)
    gt[:, :5, :9] = 255
    ours = edge_masks(gt.cuda(), num_classes, size, void_edges=void_edges)
    assert torch.equal(ours.cpu(), edge_masks(gt, num_classes, size, void_edges=void_edges))
    assert torch.equal(boundary_band(gt.cuda(), 3).cpu(), boundary_band(gt, 3))


def on_gpu(given: dict) -> dict:
    moved = {name: record.detach().cuda() for name, record in given.items()}
    return {name: record.requires_grad_(given[name].requires_grad) for name, record in moved.items()}


@pytest.mark.parametrize('name', [name for name in catalog.LOSSES if name not in ('critic', 'cirkd', 'mgd', 'afdcd')])
def test_values_and_gradients_equal_those_of_the_cpu(name):
    """Except for losses that draw random numbers, because CPU and GPU have different generators."""
    loss, given = catalog.LOSSES[name]().double(), catalog.records()
    for record, tensor in given.items():
        tensor.requires_grad_(record.endswith('_S'))
    gradients = []
    for module, records in ((copy.deepcopy(loss), given), (copy.deepcopy(loss).cuda(), on_gpu(given))):
        value = module(**catalog.arguments(module, records))
        value.backward()
        gradients.append((value.detach().cpu(), catalog.student_record(module, records).grad.cpu()))
    for on_cpu, on_cuda in zip(*gradients):
        torch.testing.assert_close(on_cuda, on_cpu)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('name', catalog.LOSSES)
def test_losses_and_gradients_are_finite_under_autocast(name, dtype):
    loss, given = catalog.LOSSES[name]().cuda(), on_gpu(catalog.records(dtype))
    for record, tensor in given.items():
        tensor.requires_grad_(record.endswith('_S'))
    with torch.autocast('cuda', dtype):
        value = loss(**catalog.arguments(loss, given))
    value.backward()
    assert value.isfinite() and catalog.student_record(loss, given).grad.isfinite().all()


@pytest.mark.parametrize('num_classes', [19, 150])
def test_bpkd_does_not_synchronize(num_classes):
    preds_S, preds_T = torch.randn(2, 2, num_classes, 16, 16, device='cuda')
    gt = torch.randint(0, num_classes, (2, 128, 128), device='cuda')
    loss = BPKDLoss().cuda()
    torch.cuda.set_sync_debug_mode('error')
    try:
        loss(preds_S.requires_grad_(), preds_T, gt).backward()
    finally:
        torch.cuda.set_sync_debug_mode('default')


def parameters_of(model) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize('settings', [{}, dict(channels_last=True), dict(fold_teacher=False)], ids=str)
@pytest.mark.parametrize('dtype', ['float32', 'float16', 'bfloat16'])
def test_training_changes_the_student_and_losses_stay_finite(tmp_path, dtype, settings):
    model = tiny.distillation(tiny.save_teacher(tmp_path / 'teacher.pth'), **settings).cuda().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    wrapper = OptimWrapper(optimizer) if dtype == 'float32' else AmpOptimWrapper(optimizer=optimizer, dtype=dtype)
    before = parameters_of(model.student)
    logs = [model.train_step(tiny.batch(), wrapper) for _ in range(4)]
    after = parameters_of(model.student)
    assert all(value.isfinite().all() for value in logs[-1].values())
    assert after.isfinite().all() and not torch.equal(before, after)


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_mixed_precision_trains_a_critic_with_an_optimizer_of_its_own(tmp_path, dtype):
    losses = dict(loss_adversarial=dict(type='SKDSCriticLoss'))
    model = tiny.distillation(tiny.save_teacher(tmp_path / 'teacher.pth'), losses).cuda().train()
    optimizer = dict(type='SGD', lr=0.01, momentum=0.9)
    settings = dict(type='AmpOptimWrapper', dtype=dtype, constructor='DistillOptimWrapperConstructor')
    wrapper = build_optim_wrapper(model, dict(settings, optimizer=optimizer))
    before = [parameters_of(part) for part in (model.student, model.distiller)]
    for _ in range(12):  # the first steps may be skipped, until the scale fits
        model.train_step(tiny.batch(), wrapper)
    for part, old in zip((model.student, model.distiller), before):
        assert parameters_of(part).isfinite().all() and not torch.equal(parameters_of(part), old)
