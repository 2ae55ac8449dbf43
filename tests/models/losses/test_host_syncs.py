"""Losses and training steps do not synchronize with the GPU.

Tensors on the meta device have no values, so any operation that would synchronize raises an error.
"""

from contextlib import nullcontext

import catalog
import pytest
import tiny
import torch

from mmseg_bpkd.models.losses import BPKDLoss


def on_meta(num_classes: int, stride: int = 8) -> tuple:
    preds_S, preds_T = torch.empty(2, 2, num_classes, 6, 8, device='meta')
    return preds_S.requires_grad_(), preds_T, torch.empty(2, 6 * stride, 8 * stride, dtype=torch.int64, device='meta')


@pytest.mark.parametrize('num_classes', [2, 19, 31, 150])
@pytest.mark.parametrize(
    'settings',
    [
        {},
        dict(void_edges=True),
        dict(edge_norm='paper', class_weight=2.0),
        dict(pre_mask=False),
        dict(post_mask=False),
        dict(body_over='classes'),
        dict(body_mask='remove'),
    ],
    ids=str,
)
def test_bpkd_does_not_synchronize(num_classes, settings):
    preds_S, preds_T, gt = on_meta(num_classes)
    BPKDLoss(**settings).to('meta')(preds_S, preds_T, gt).backward()
    assert preds_S.grad.shape == preds_S.shape


@pytest.mark.parametrize('name', catalog.LOSSES)
def test_only_cirkd_synchronizes(name, monkeypatch):
    """CIRKD synchronizes when it selects the vectors for its memories."""
    monkeypatch.setattr(torch, 'autocast', lambda *_, **__: nullcontext())  # not available for meta tensors
    loss = catalog.LOSSES[name]().to('meta')
    given = {key: value.to('meta') for key, value in catalog.arguments(loss, catalog.records(torch.float32)).items()}
    for key, value in given.items():
        value.requires_grad_(key.endswith('_S'))
    with pytest.raises(NotImplementedError, match='nonzero') if name == 'cirkd' else nullcontext():
        loss(**given).backward()


def test_a_training_loss_does_not_synchronize(tmp_path):
    model = tiny.distillation(tiny.save_teacher(tmp_path / 'teacher.pth'))
    data = model.data_preprocessor(tiny.batch(), True)
    model.to('meta')
    for sample in data['data_samples']:
        sample.gt_sem_seg.data = sample.gt_sem_seg.data.to('meta')
    losses = model.loss(data['inputs'].to('meta'), data['data_samples'])
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    assert all(value.device.type == 'meta' for value in losses.values())
