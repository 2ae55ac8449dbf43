"""How the time of a BPKD step, PSPNet R101 to R18, grows with batch, crop, classes and processes.

Several processes have one CPU thread each. Gradients are averaged with gloo. Batch norm is not synchronized.
"""

import os.path as osp
import socket
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from statistics import median

import torch
import torch.distributed as dist
from torch.nn.utils import parameters_to_vector

from mmseg_bpkd.engine.devices import CPUDistributedDataParallel

from .measuring import milliseconds_in_turn, peak_growth
from .step import RECIPES, build, on_random_images, training_step, two_steps

FORMAT = '{what}: {shown}'
SIZE, BATCH_SIZE = (256, 256), 2
PROCESSES, PROCESS_SIZE, PROCESS_BATCH_SIZE = (1, 2, 4), (128, 128), 2
CLASSES = {classes: {'num_classes': classes, 'model.num_classes': classes} for classes in (19, 59, 150)}


def compare(runs: int, size: tuple[int, int] | None = None, batch_size: int | None = None) -> Iterator[dict]:
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
        yield measure_processes(count, runs)


def measure_processes(count: int, runs: int) -> dict:
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
                {name: median(milliseconds[1:]) for name, milliseconds in times.items()},
                gradient_megabytes=gradients.numel() * 4 / 1e6,
            ),
            path,
        )
    dist.barrier()
    dist.destroy_process_group()
