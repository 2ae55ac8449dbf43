"""Two processes, each with half of a batch, compute the same gradients as one process with the whole batch."""

import copy
import socket

import pytest
import tiny
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from methods import DISTILLERS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from test_optim import OPTIM_WRAPPER

from mmseg_bpkd.engine.devices import CPUDistributedDataParallel

METHODS = {method: Config.fromfile(path).distiller.to_dict() for method, path in DISTILLERS.items()}
MORE = dict(
    bpkd_paper=dict(
        loss_bpkd=dict(type='BPKDLoss', edge_norm='paper', edge_weight=50.0, body_weight=20.0, class_weight=2.0)
    ),
    bpkd_plain=dict(
        loss_bpkd=dict(type='BPKDLoss', pre_mask=False, post_mask=False, edge_over='classes', body_over='classes')
    ),
    cirkd_batch=dict(loss_cirkd=dict(type='CIRKDLoss', pixel_weight=0, region_weight=0)),
    kd_of_skds=dict(loss_kd=dict(type='KDLoss', weight=10.0, norm='positions', cross_entropy=True)),
)
METHODS.update({method: dict(type='SegDistiller', losses=losses) for method, losses in MORE.items()})
# SKDS's KD sums over the images of a process, as published. Two processes therefore give half the value of one.
IN_ONE_PROCESS = copy.deepcopy(METHODS)
for method in ('kd_of_skds', 'skds_original'):
    IN_ONE_PROCESS[method]['losses']['loss_kd']['weight'] = 5.0


def same_numbers_for_every_image(*size, device=None, dtype=None) -> torch.Tensor:
    """Replaces torch.rand, so that masks and draws do not depend on the split of the batch."""
    size = size[0] if isinstance(size[0], (tuple, torch.Size)) else size
    numbers = torch.rand.original(size[1:], generator=torch.Generator().manual_seed(0), dtype=dtype)
    return numbers.expand(size).clone()


same_numbers_for_every_image.original = torch.rand


def model_of(distiller: dict, teacher_ckpt: str):
    """A model with frozen batch norm and without dropout, in which only the losses connect the images of a batch."""
    init_default_scope('mmseg')
    model = (
        tiny.distillation(teacher_ckpt, distiller=distiller).double().train()
    )  # float32 convolutions depend on the batch size
    for module in model.modules():
        if isinstance(module, (torch.nn.BatchNorm2d, torch.nn.SyncBatchNorm, torch.nn.Dropout2d)):
            module.eval()
    for name, parameter in model.named_parameters():
        if name.endswith('gamma'):
            torch.nn.init.constant_(parameter, 0.5)  # the attention of the critic is off at 0
    return model


def outcome(model, samples: slice) -> dict:
    """Gradients of two batches, the buffers of the losses, and the weights after a step with the gradients.

    Class 2 occurs only in the first process.
    """
    plain = getattr(model, 'module', model)
    torch.rand = same_numbers_for_every_image
    try:
        for seed in range(2):
            data = tiny.batch(4, seed=seed)
            for sample in data['data_samples'][2:]:
                gt = sample.gt_sem_seg.data
                gt[gt == 2] = 255
            data['data_samples'][3].gt_sem_seg.data[:, 8:] = 255
            data = plain.data_preprocessor({key: value[samples] for key, value in data.items()}, True)
            losses = model(**data, mode='loss')
            sum(value for key, value in losses.items() if 'loss' in key).backward()
    finally:
        torch.rand = same_numbers_for_every_image.original
    grads = {name: parameter.grad.clone() for name, parameter in plain.named_parameters()}
    memories = {name: buffer for name, buffer in plain.distiller.named_buffers() if 'running' not in name}
    build_optim_wrapper(model, copy.deepcopy(OPTIM_WRAPPER)).step()
    weights = {name: parameter.detach().clone() for name, parameter in plain.named_parameters()}
    return dict(grads=grads, memories=memories, weights=weights)


def run_one_of_two_processes(rank: int, port: int, teacher_ckpt: str, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group('gloo', f'tcp://127.0.0.1:{port}', rank=rank, world_size=2)
    for method, distiller in METHODS.items():
        model = CPUDistributedDataParallel(model_of(distiller, teacher_ckpt))
        torch.save(outcome(model, slice(2 * rank, 2 * rank + 2)), f'{folder}/{method}_{rank}.pth')
    dist.destroy_process_group()


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """The folder with the outcomes of all methods in two processes."""
    folder = tmp_path_factory.mktemp('outcomes')
    teacher_ckpt = tiny.save_teacher(folder / 'teacher.pth')
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        port = server.getsockname()[1]
    mp.spawn(run_one_of_two_processes, (port, teacher_ckpt, str(folder)), nprocs=2)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize('method', METHODS)
def test_two_processes_give_the_gradients_memories_and_weights_of_one(folder, method):
    expected = outcome(model_of(IN_ONE_PROCESS[method], str(folder / 'teacher.pth')), slice(0, 4))
    first, second = (torch.load(folder / f'{method}_{rank}.pth') for rank in range(2))
    assert expected['grads'].keys() == first['grads'].keys()
    of_losses = {name: grad for name, grad in expected['grads'].items() if name.startswith('distiller')}
    without = [name for name, grad in of_losses.items() if grad.abs().max() == 0]
    assert not [name for name in without if not name.endswith('critic.7.bias')]  # the bias cancels in the loss
    assert any(grad.abs().max() > 1e-3 for grad in expected['grads'].values())
    for name, grad in expected['grads'].items():
        assert torch.equal(first['grads'][name], second['grads'][name])
        torch.testing.assert_close(first['grads'][name], grad, rtol=1e-7, atol=1e-9)
        assert torch.equal(first['weights'][name], second['weights'][name])
        torch.testing.assert_close(first['weights'][name], expected['weights'][name], rtol=1e-7, atol=1e-9)
    for name, memory in expected['memories'].items():
        assert torch.equal(first['memories'][name], second['memories'][name])
        torch.testing.assert_close(first['memories'][name], memory)
    if method == 'cirkd':
        written = expected['memories']['distill_losses.loss_cirkd.memories.pixel.written']
        assert written[:2].min() > written[2] > 0 and not (written == 16 * 8).any()
