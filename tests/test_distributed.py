"""Two processes on halves of a batch have the gradients of one process on the whole."""
import socket

import pytest
import tiny
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.registry import init_default_scope

from mmseg_bpkd.launch import CPUDistributedDataParallel

METHODS = dict(
    bpkd=dict(type='BPKDLoss'),
    bpkd_paper=dict(type='BPKDLoss', edge_norm='paper', edge_weight=50., body_weight=20., class_weight=2.),
    bpkd_plain=dict(type='BPKDLoss', pre_mask=False, post_mask=False, edge_over='classes', body_over='classes'),
    cwd=dict(type='ChannelWiseLoss'),
    cwd_features=dict(type='ChannelWiseFeatureLoss'),
    kd=dict(type='PixelWiseLoss'),
)


def model_of(method: str, teacher_ckpt: str):
    """Batch norm frozen and dropout off: what couples the images of a batch is the losses alone."""
    init_default_scope('mmseg')
    model = tiny.distillation(teacher_ckpt, dict(loss_x=METHODS[method])).train()
    for module in model.student.modules():
        if isinstance(module, (torch.nn.BatchNorm2d, torch.nn.SyncBatchNorm, torch.nn.Dropout2d)):
            module.eval()
    return model


def gradients(model, samples: slice) -> dict:
    data = tiny.batch(4)
    data = {key: value[samples] for key, value in data.items()}
    data = getattr(model, 'module', model).data_preprocessor(data, True)
    losses = model(**data, mode='loss')
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    return {name.removeprefix('module.'): parameter.grad.clone() for name, parameter in model.named_parameters()}


def one_of_two(rank: int, port: int, teacher_ckpt: str, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group('gloo', f'tcp://127.0.0.1:{port}', rank=rank, world_size=2)
    for method in METHODS:
        model = CPUDistributedDataParallel(model_of(method, teacher_ckpt))
        torch.save(gradients(model, slice(2 * rank, 2 * rank + 2)), f'{folder}/{method}_{rank}.pth')
    dist.destroy_process_group()


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Gradients of every method from one pair of processes."""
    folder = tmp_path_factory.mktemp('gradients')
    teacher_ckpt = tiny.save_teacher(folder / 'teacher.pth')
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        port = server.getsockname()[1]
    mp.spawn(one_of_two, (port, teacher_ckpt, str(folder)), nprocs=2)
    return folder


@pytest.mark.parametrize('method', METHODS)
def test_two_processes_have_the_gradients_of_one(folder, method):
    expected = gradients(model_of(method, str(folder / 'teacher.pth')), slice(0, 4))
    first, second = (torch.load(folder / f'{method}_{rank}.pth') for rank in range(2))
    assert expected.keys() == first.keys() and any(grad.abs().max() > 1e-3 for grad in expected.values())
    for name, grad in expected.items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], grad, rtol=1e-4, atol=1e-6)
