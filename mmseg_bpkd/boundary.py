"""Where classes meet: soft edge masks for the losses, boundary bands for the metrics. Pure tensor functions.

Both ask which classes lie in the square window around a pixel. Morphology answers with one dilation and one erosion
per class; here the *set* of classes is one integer with a bit per class, and all classes share one sliding window.
"""
from itertools import zip_longest
from typing import Callable, List, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

WORDS = {8: torch.uint8, 16: torch.int16, 32: torch.int32, 64: torch.int64}  # bits of a set -> its integer


@torch.no_grad()
def edge_masks(gt: Tensor,
               num_classes: int,
               size: Tuple[int, int],
               kernel_size: int = 7,
               ignore_index: int = 255,
               void_edges: bool = False) -> Tensor:
    """Soft class-wise edge masks (BPKD, arXiv 2306.08075, section 3.2), pooled to the grid of the logits.

    The edge of class c is E_c = dilate(G_c) - erode(G_c) with a k x k square, where G_c = [gt = c]: the pixels whose
    window holds c and something else. The image frame is never an edge.

    Args:
        gt: labels, (N, H, W), integers in [0, num_classes) or `ignore_index` (void).
        size: (h, w) of the grid. Where it does not divide (H, W), cells overlap as in adaptive pooling.
        kernel_size: k, the edge width in pixels of the label. The window of an even k has no centre: it reaches k / 2
            pixels up and left, k / 2 - 1 down and right, as OpenCV's does. Across a straight border between two classes
            k - 1 pixels are edge, whether k is odd or even.
        void_edges: True takes the formula literally: a border to void is an edge, also on its void side. By default
            only borders between two classes count, and void pixels are in no mask.

    Returns:
        (N, num_classes, h, w) float32 in [0, 1]: the share of each cell that is edge of the class.

    Raises:
        ValueError: if `kernel_size` is less than 1.
    """
    if kernel_size < 1:
        raise ValueError(f'kernel_size must be at least 1 pixel, got {kernel_size}')
    void = gt == ignore_index
    sets, present, member = _class_sets(gt, void, num_classes, void_edges)
    sets = _slide(sets, kernel_size, torch.bitwise_or, 0)
    is_edge = _has_several(sets)
    if not void_edges:
        is_edge &= ~void
    sets.mul_(is_edge)

    image, cls = present[:, :num_classes].nonzero(as_tuple=True)
    image, cls, place = (index.to(gt.device) for index in (image, cls, member[image, cls]))
    masks = torch.zeros(len(gt), num_classes, *size, device=gt.device)
    masks[image, cls] = _pool(sets, _count(member), size)[image, place]
    return masks


@torch.no_grad()
def boundary_band(gt: Tensor, half_width: int, ignore_index: int = 255) -> Tensor:
    """The band of valid pixels that have a different valid class within `half_width` pixels (square window).

    Args:
        gt: labels, (N, H, W), integers below 32768.

    Returns:
        (N, H, W) bool. Void pixels are never in the band and put no other pixel into it.

    Raises:
        ValueError: if `half_width` is less than 1.
    """
    if half_width < 1:
        raise ValueError(f'half_width must be at least 1 pixel, got {half_width}')
    valid = gt != ignore_index
    labels = gt.to(torch.int16)
    limits = torch.iinfo(torch.int16)
    window = 2 * half_width + 1
    highest = _slide(labels.masked_fill(~valid, limits.min), window, torch.maximum, limits.min)
    lowest = _slide(labels.masked_fill(~valid, limits.max), window, torch.minimum, limits.max)
    return (highest != lowest) & valid


def _class_sets(gt: Tensor, void: Tensor, num_classes: int, void_edges: bool) -> Tuple[Tensor, Tensor, Tensor]:
    """The set {label} of each pixel, empty where void unless `void_edges`, over the classes present in its image.

    Returns:
        sets: (words, N, H, W), member m being bit m % bits of word m // bits.
        present: (N, num_classes + 1) bool on the CPU, void being the last class.
        member: (N, num_classes + 1), a present class's place among those of its image.
    """
    labels = torch.where(void, num_classes, gt.long())
    present = torch.zeros(len(gt), num_classes + 1, dtype=torch.bool, device=gt.device)
    present.scatter_(1, labels.flatten(1), True)
    present = present.cpu()  # the only synchronisation with a GPU
    present[:, num_classes] = void_edges
    member = present.cumsum(1) - 1

    bits = next((b for b in WORDS if b >= _count(member)), 64)
    table = torch.zeros(-(-_count(member) // bits), *present.shape, dtype=torch.int64)
    image, cls = present.nonzero(as_tuple=True)
    m = member[image, cls]
    table[m // bits, image, cls] = torch.ones_like(m) << (m % bits)
    table = table.to(WORDS[bits]).to(gt.device).flatten(1)
    entry = labels.add_(present.shape[1] * torch.arange(len(gt), device=gt.device).view(-1, 1, 1)).flatten()
    return torch.stack([word.gather(0, entry) for word in table]).unflatten(1, gt.shape), present, member


def _count(member: Tensor) -> int:
    """Members of the largest set, at least one."""
    return max(1, int(member.max()) + 1)


def _slide(x: Tensor, window: int, op: Callable, identity: int) -> Tensor:
    """Reduces the square window around each pixel of (..., H, W) by an idempotent `op`.

    Runs of 1, 2, 4... pixels are joined until two overlapping ones make a window: log2(k) steps, not k.
    """
    before, after = window // 2, (window - 1) // 2
    for dim, padding in ((-2, (0, 0, before, after)), (-1, (before, after))):
        extent = x.shape[dim]
        run, length = F.pad(x, padding, value=identity), 1
        while 2 * length <= window:
            count = run.shape[dim] - length
            run = op(run.narrow(dim, 0, count), run.narrow(dim, length, count))
            length *= 2
        x = op(run.narrow(dim, 0, extent), run.narrow(dim, window - length, extent))
    return x


def _has_several(sets: Tensor) -> Tensor:
    """(words, N, H, W) -> (N, H, W) bool: the set has more than one member."""
    several = (sets & (sets - 1)) != 0  # clearing the lowest bit leaves another
    if len(sets) == 1:
        return several[0]
    return several.any(0) | ((sets != 0).sum(0) > 1)


def _pool(sets: Tensor, num_members: int, size: Tuple[int, int]) -> Tensor:
    """Mean over each cell of each member's bit: (words, N, H, W) -> (N, num_members, h, w)."""
    height, width = sets.shape[-2:]
    if height % size[0] or width % size[1]:
        return _pool_unevenly(sets, num_members, size)
    counts = [sets]
    for dim, cells in ((-2, size[0]), (-1, size[1])):
        counts = _sum_blocks(counts, dim, sets.shape[dim] // cells)
    area = (height // size[0]) * (width // size[1])
    total = sum(_unpack(plane, num_members).float() * 2**i for i, plane in enumerate(counts))
    return total / area


def _sum_blocks(number: List[Tensor], dim: int, block: int) -> List[Tensor]:
    """Adds every `block` neighbours along `dim`, all members at once.

    A number is a list of planes, plane i holding bit i of every member's count: 64 counters in one int64.
    """
    addends = [[plane.unflatten(dim, (-1, block)).select(dim, j) for plane in number] for j in range(block)]
    while len(addends) > 1:
        sums = [_add(a, b) for a, b in zip(addends[::2], addends[1::2])]
        addends = sums + addends[2 * len(sums):]
    return addends[0]


def _add(a: List[Tensor], b: List[Tensor]) -> List[Tensor]:
    """Binary addition with carry of two numbers of bit planes."""
    total, carry = [], None
    for bit in zip_longest(a, b):
        x, *rest = [plane for plane in (*bit, carry) if plane is not None]
        carry = None
        for y in rest:
            x, overflow = x ^ y, x & y
            carry = overflow if carry is None else carry | overflow
        total.append(x)
    return total + [carry]


def _unpack(sets: Tensor, num_members: int) -> Tensor:
    """(words, N, h, w) -> (N, num_members, h, w) of 0 and 1."""
    bits = 8 * sets.element_size()
    shifts = torch.arange(bits, dtype=sets.dtype, device=sets.device).view(-1, 1, 1)
    members = [(word.unsqueeze(1) >> shifts[:num_members - i * bits]) & 1 for i, word in enumerate(sets)]
    return torch.cat(members, dim=1) if len(members) > 1 else members[0]


def _pool_unevenly(sets: Tensor, num_members: int, size: Tuple[int, int], chunk: int = 8) -> Tensor:
    """Adaptive pooling of a few members at a time, so that memory does not grow with the number of classes."""
    bits = 8 * sets.element_size()
    pooled = []
    for i, word in enumerate(sets):
        all_shifts = torch.arange(min(bits, num_members - i * bits), dtype=sets.dtype, device=sets.device)
        for shifts in all_shifts.split(chunk):
            members = (word.unsqueeze(1) >> shifts.view(-1, 1, 1)) & 1
            pooled.append(F.adaptive_avg_pool2d(members.float(), size))
    return torch.cat(pooled, dim=1)
