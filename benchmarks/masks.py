"""Class-wise edge masks at stride 8, against one-hot maps and max-pooling."""

from collections.abc import Iterable, Iterator
from functools import partial
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor

from mmseg_bpkd.ops.boundary import edge_masks

from .measuring import DEVICE, milliseconds_in_turn, peak_growth, ratio

STRIDE, KERNEL = 8, 7
FORMAT = (
    '{case}: {ms:.1f} ms against {rival_ms:.0f} ms, {ratio:.0f} times faster ({ratio_least:.0f} to '
    '{ratio_most:.0f}); {megabytes:.0f} MiB against {rival_megabytes:.0f} MiB'
)


def regions(num_classes: int, present: int, height: int, width: int, images: int = 2, count: int = 60) -> Tensor:
    """Label maps of Voronoi regions, each image with its own `present` classes: (images, H, W)."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
    maps = []
    for _ in range(images):
        seeds = torch.rand(count, 2, generator=generator) * torch.tensor([height, width])
        nearest = torch.stack([(y - a) ** 2 + (x - b) ** 2 for a, b in seeds]).argmin(0)
        classes = torch.randperm(num_classes, generator=generator)[:present]
        maps.append(classes[torch.arange(count) % present][nearest])
    return torch.stack(maps)


def noise(num_classes: int, height: int, width: int) -> Tensor:
    """A random class for every pixel: the worst case, which no real image has."""
    return torch.randint(0, num_classes, (2, height, width), generator=torch.Generator().manual_seed(0))


def bit_sets(gt: Tensor, num_classes: int) -> Tensor:
    return edge_masks(gt, num_classes, (gt.shape[1] // STRIDE, gt.shape[2] // STRIDE), KERNEL)


def one_hot_morphology(gt: Tensor, num_classes: int) -> Tensor:
    """The usual implementation: dilation minus erosion of one-hot maps. For labels without void."""
    maps = F.one_hot(gt, num_classes).permute(0, 3, 1, 2).float()
    dilated = F.max_pool2d(maps, KERNEL, 1, KERNEL // 2)
    eroded = -F.max_pool2d(-maps, KERNEL, 1, KERNEL // 2)
    return F.avg_pool2d(dilated - eroded, STRIDE)


CASES = {
    '150 classes, 512x512, 20 in each image': (150, partial(regions, 150, 20, 512, 512)),
    '19 classes, 512x1024, 15 in each image': (19, partial(regions, 19, 15, 512, 1024)),
    '150 classes, 512x512, noise': (150, partial(noise, 150, 512, 512)),
    '19 classes, 512x1024, noise': (19, partial(noise, 19, 512, 1024)),
}


def compare(runs: int, cases: Iterable[str] = ()) -> Iterator[dict]:
    for case in cases or CASES:
        num_classes, make = CASES[case]
        gt = make().to(DEVICE)
        assert torch.equal(bit_sets(gt, num_classes), one_hot_morphology(gt, num_classes))
        times = milliseconds_in_turn(
            {function.__name__: partial(function, gt, num_classes) for function in (bit_sets, one_hot_morphology)}, runs
        )
        result = dict(ratio(times['one_hot_morphology'], times['bit_sets']), case=case)
        result.update(rival_ms=result['ms'], ms=median(times['bit_sets']))
        for name, function in (('megabytes', bit_sets), ('rival_megabytes', one_hot_morphology)):
            small = partial(function, gt[:, :192, :192].clone(), num_classes)  # enough work to start all threads
            result[name] = peak_growth(partial(partial, function, gt.clone(), num_classes), small)
        yield result
