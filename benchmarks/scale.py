"""How a step of BPKD, PSPNet R101 to R18, grows with batch, crop, classes and processes; and what more GPUs would need.

Processes are of one thread each, on the CPU, and share their gradients by gloo; their norms are not synchronised. The
last lines are arithmetic on the sizes of the networks, under the assumptions that they name.
"""

import os.path as osp
import socket
import tempfile
import time
from functools import partial
from statistics import median
from typing import Iterator, Optional, Tuple

import torch
import torch.distributed as dist
from torch.nn import SyncBatchNorm
from torch.nn.utils import parameters_to_vector

from mmseg_bpkd.launch import CPUDistributedDataParallel

from . import data
from .measuring import milliseconds_in_turn, peak_growth
from .step import RECIPES, build, on_random_images, training_step, two_steps

FORMAT = '{what}: {shown}'
SIZE, BATCH_SIZE = (256, 256), 2
PROCESSES, PROCESS_SIZE, PROCESS_BATCH_SIZE = (1, 2, 4), (128, 128), 2
CLASSES = {classes: {'num_classes': classes, 'model.num_classes': classes} for classes in (19, 59, 150)}
LINKS = {4: ('one machine', 100, 20), 64: ('8 machines of 8', 10, 100)}  # assumed: GB/s of each GPU, microseconds
STEP_SECONDS, IMAGES_PER_STEP, BUCKET = 0.25, 4, 25  # assumed: of each GPU; DDP's default, MB


def compare(runs: int, size: Optional[Tuple[int, int]] = None, batch_size: Optional[int] = None) -> Iterator[dict]:
    size, batch_size = tuple(size or SIZE), batch_size or BATCH_SIZE
    points = {f'batch {n}': (19, size, n) for n in (batch_size, 2 * batch_size, 3 * batch_size)}
    points |= {
        f'crop {h}x{w}': (19, (h, w), batch_size)
        for h, w in ((part * size[0] // 4, part * size[1] // 4) for part in (2, 4, 6))
    }
    points |= {f'{classes} classes': (classes, size, batch_size) for classes in CLASSES}
    for what, (classes, crop, images) in points.items():
        make = partial(training_step, RECIPES[19], CLASSES[classes], crop, images)
        times = milliseconds_in_turn({what: make()}, runs)[what]
        megabytes = peak_growth(partial(two_steps, make))
        yield dict(
            what=f'{what} (batch {images}, {crop[0]}x{crop[1]}, {classes} classes)',
            ms=median(times),
            least=min(times),
            most=max(times),
            megabytes=megabytes,
            shown=f'{median(times):.0f} ms ({min(times):.0f} to {max(times):.0f}), {megabytes:.0f} MiB',
        )
    for count in PROCESSES:
        yield of_processes(count, runs)
    images_per_second = next(data.compare(runs))['images_per_second']
    for gpus in LINKS:
        yield extrapolation(gpus, images_per_second)


def of_processes(count: int, runs: int) -> dict:
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(('127.0.0.1', 0))
        port, path = free.getsockname()[1], osp.join(folder, 'result.pth')
        free.close()
        torch.multiprocessing.spawn(_process, (count, port, runs, path), nprocs=count)
        result = torch.load(path)
    return dict(
        result,
        what=f'{count} process{"es" * (count > 1)}',
        shown=(
            f'{result["ms"]:.0f} ms with batch {PROCESS_BATCH_SIZE} each, {PROCESS_SIZE[0]}x{PROCESS_SIZE[1]}; to '
            f'share '
            f'{result["gradient_megabytes"]:.0f} MB of gradients alone, {result["sharing_ms"]:.0f} ms'
        ),
    )


def _process(rank: int, count: int, port: int, runs: int, path: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group('gloo', f'tcp://127.0.0.1:{port}', rank=rank, world_size=count)
    cfg, model = build(RECIPES[19], {})
    model = CPUDistributedDataParallel(model, broadcast_buffers=False)
    step = on_random_images(cfg, model, PROCESS_SIZE, PROCESS_BATCH_SIZE)
    gradients = torch.zeros_like(parameters_to_vector(model.parameters()))
    times = {}
    for name, call in (('ms', step), ('sharing_ms', partial(dist.all_reduce, gradients))):
        times[name] = []
        for _ in range(runs + 1):
            dist.barrier()
            began = time.perf_counter()
            call()
            dist.barrier()
            times[name].append(1000 * (time.perf_counter() - began))
    if rank == 0:
        torch.save(
            dict(
                {name: median(of_name[1:]) for name, of_name in times.items()},
                gradient_megabytes=gradients.numel() * 4 / 1e6,
            ),
            path,
        )
    dist.barrier()
    dist.destroy_process_group()


def extrapolation(gpus: int, images_per_second: float) -> dict:
    """Of a ring of GPUs, each of which sends every gradient twice but for its own share."""
    model = build(RECIPES[19], {})[1]
    where, gigabytes_per_second, microseconds = LINKS[gpus]
    gradient = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad) * 4 / 1e6
    sent = 2 * (gpus - 1) / gpus * gradient
    norms = sum(isinstance(module, SyncBatchNorm) for module in model.modules())
    result = dict(
        gpus=gpus,
        gradient_megabytes=gradient,
        sent_megabytes=sent,
        sending_ms=sent / gigabytes_per_second,
        not_overlapping_ms=sent / gigabytes_per_second * min(1, BUCKET / gradient),
        synchronised_norms=norms,
        norms_ms=2 * norms * microseconds / 1000,
        images_per_second=IMAGES_PER_STEP / STEP_SECONDS,
        workers=IMAGES_PER_STEP / STEP_SECONDS / images_per_second,
    )
    return dict(
        result,
        what=f'{gpus} GPUs, {where}',
        shown=(
            f'each sends {sent:.0f} MB of gradients a step, {result["sending_ms"]:.1f} ms at '
            f'{gigabytes_per_second} GB/s, '
            f'of which the last bucket, at most {result["not_overlapping_ms"]:.1f} ms, overlaps with no backward pass; '
            f'{norms} synchronised norms wait twice for a message, {result["norms_ms"]:.1f} ms at {microseconds} '
            f'us each; '
            f'at {STEP_SECONDS} s a step each consumes {result["images_per_second"]:.0f} images a second, the work of '
            f'{result["workers"]:.1f} workers'
        ),
    )
