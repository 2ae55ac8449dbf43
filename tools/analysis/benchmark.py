"""Measure what this project claims to be fast, against what one would use instead.

    python tools/analysis/benchmark.py masks [--runs 9] [--out masks.json]

masks: class-wise edge masks at stride 8, against one-hot maps and max-pooling. Both run in turn (A B A B ...) in one
process after a warm-up; the ratio is the median over the pairs. Memory is what the peak of the resident set grows by,
in a process of its own.
"""
import argparse
import json
import multiprocessing
import os.path as osp
import re
import sys
import time
from statistics import median
from typing import Callable

sys.path.insert(0, osp.join(osp.dirname(osp.abspath(__file__)), '../..'))  # a checkout works without being installed

import mmseg_bpkd  # noqa: F401
import torch
import torch.nn.functional as F
from mmseg_bpkd.boundary import edge_masks
from torch import Tensor

STRIDE, KERNEL = 8, 7


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=['masks'])
    parser.add_argument('--runs', type=int, default=9, help='counted pairs')
    parser.add_argument('--out', metavar='JSON')
    return parser.parse_args()


def regions(num_classes: int, present: int, height: int, width: int, count: int = 60) -> Tensor:
    """Two label maps of Voronoi regions, each image with its own `present` classes: (2, H, W)."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
    maps = []
    for _ in range(2):
        seeds = torch.rand(count, 2, generator=generator) * torch.tensor([height, width])
        nearest = torch.stack([(y - a)**2 + (x - b)**2 for a, b in seeds]).argmin(0)
        classes = torch.randperm(num_classes, generator=generator)[:present]
        maps.append(classes[torch.arange(count) % present][nearest])
    return torch.stack(maps)


def noise(num_classes: int, height: int, width: int) -> Tensor:
    """Every pixel of any class: no image looks like this; the worst case."""
    return torch.randint(0, num_classes, (2, height, width), generator=torch.Generator().manual_seed(0))


def ours(gt: Tensor, num_classes: int) -> Tensor:
    return edge_masks(gt, num_classes, (gt.shape[1] // STRIDE, gt.shape[2] // STRIDE), KERNEL)


def one_hot_morphology(gt: Tensor, num_classes: int) -> Tensor:
    """The formula as it is usually written, for labels without void."""
    maps = F.one_hot(gt, num_classes).permute(0, 3, 1, 2).float()
    dilated = F.max_pool2d(maps, KERNEL, 1, KERNEL // 2)
    eroded = -F.max_pool2d(-maps, KERNEL, 1, KERNEL // 2)
    return F.avg_pool2d(dilated - eroded, STRIDE)


CASES = {
    '150 classes, 512x512, 20 in each image': (150, lambda: regions(150, 20, 512, 512)),
    '19 classes, 512x1024, 15 in each image': (19, lambda: regions(19, 15, 512, 1024)),
    '150 classes, 512x512, noise': (150, lambda: noise(150, 512, 512)),
    '19 classes, 512x1024, noise': (19, lambda: noise(19, 512, 1024)),
}


def seconds(call: Callable) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def peak_growth(function: Callable, gt: Tensor, num_classes: int) -> float:
    """Megabytes by which the peak of the resident set grows; call it in a process of its own."""
    gt = gt.clone()  # out of the memory that is shared with the process it came from
    function(gt[:, :64, :64].contiguous(), num_classes)  # libraries and threads
    before = peak_resident_kilobytes()
    function(gt, num_classes)
    return (peak_resident_kilobytes() - before) / 1024


def peak_resident_kilobytes() -> int:
    """Linux only. `resource.getrusage` would start from the peak of the process that started this one."""
    with open('/proc/self/status') as file:
        return int(re.search(r'VmHWM:\s+(\d+) kB', file.read())[1])


def compare_masks(case: str, runs: int) -> dict:
    num_classes, make = CASES[case]
    gt = make()
    assert torch.equal(ours(gt, num_classes), one_hot_morphology(gt, num_classes))
    pairs = [(seconds(lambda: ours(gt, num_classes)), seconds(lambda: one_hot_morphology(gt, num_classes)))
             for _ in range(runs)]
    ratios = sorted(rival / own for own, rival in pairs)
    with multiprocessing.get_context('spawn').Pool(1, maxtasksperchild=1) as pool:
        memory = [pool.apply(peak_growth, (function, gt, num_classes)) for function in (ours, one_hot_morphology)]
    return dict(
        case=case, ms=1000 * median(own for own, _ in pairs), rival_ms=1000 * median(rival for _, rival in pairs),
        ratio=median(ratios), ratio_least=ratios[0], ratio_most=ratios[-1], megabytes=memory[0],
        rival_megabytes=memory[1])


def main() -> None:
    args = parse_args()
    print(f'torch {torch.__version__}, {torch.get_num_threads()} threads, batch 2, stride {STRIDE}, k = {KERNEL}')
    results = []
    for case in CASES:
        result = compare_masks(case, args.runs)
        results.append(result)
        print('{case}: {ms:.1f} ms against {rival_ms:.0f} ms, {ratio:.0f} times faster ({ratio_least:.0f} to '
              '{ratio_most:.0f}); {megabytes:.0f} MB against {rival_megabytes:.0f} MB'.format(**result), flush=True)
    if args.out:
        with open(args.out, 'w') as file:
            json.dump(dict(torch=torch.__version__, threads=torch.get_num_threads(), masks=results), file, indent=2)


if __name__ == '__main__':
    main()
