"""Where classes meet: soft edge masks for the losses, boundary bands for the metrics. Pure tensor functions.

Both ask which classes lie in the square window around a pixel. Morphology answers with one dilation and one erosion
per class; here the *set* of classes is one integer with a bit per class, and all classes share one sliding window.
"""

from functools import reduce
from typing import Callable, List, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

WORDS = {8: torch.int8, 16: torch.int16, 32: torch.int32, 64: torch.int64}  # bits of a set -> its integer


@torch.no_grad()
def edge_masks(
    gt: Tensor,
    num_classes: int,
    size: Tuple[int, int],
    kernel_size: int = 7,
    ignore_index: int = 255,
    void_edges: bool = False,
) -> Tensor:
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
    sets, members = _class_sets(gt, num_classes, ignore_index, void_edges)
    edges = _only_several(_slide(sets, kernel_size, torch.bitwise_or, 0))
    if not void_edges:
        edges &= _filled(_union(sets))  # the set of a void pixel is empty
    del sets
    present = members[:num_classes]
    of_present = _pool(edges, int(present.sum()), size)
    if present.all():
        return of_present
    masks = of_present.new_zeros(len(gt), num_classes, *size)
    masks[:, present] = of_present
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
    valid = gt.int() != ignore_index  # -1 is no byte
    labels = gt.to(torch.int16)
    limits = torch.iinfo(torch.int16)
    window = 2 * half_width + 1
    highest = _slide(labels.masked_fill(~valid, limits.min), window, torch.maximum, limits.min)
    lowest = _slide(labels.masked_fill(~valid, limits.max), window, torch.minimum, limits.max)
    return (highest != lowest) & valid


def _class_sets(gt: Tensor, num_classes: int, ignore_index: int, void_edges: bool) -> Tuple[Tensor, Tensor]:
    """The set {label} of each pixel; the empty set for void, unless `void_edges`.

    Returns:
        sets: (words, N, H, W). The bit of a label is its rank among the members: bit m % 64 of word m // 64; up to 64
            members fit into one word, of a smaller type where they are few.
        members: (num_classes + 1,) bool on the CPU, the labels that have a bit; the last one is void.
    """
    labels = gt.to(torch.int32, copy=True)
    labels.masked_fill_(labels == ignore_index, num_classes)
    members = _labels_to_encode(labels, num_classes + 1)
    members[num_classes] = void_edges
    rank = torch.arange(int(members.sum()))
    bits = next((bits for bits in WORDS if bits >= len(rank)), 64)
    table = torch.zeros(-(-len(rank) // bits), num_classes + 1, dtype=torch.int64)
    table[rank // bits, members.nonzero().squeeze(1)] = 1 << (rank % bits)
    table = table.to(WORDS[bits]).to(gt.device, non_blocking=True)
    sets = torch.empty(len(table), *gt.shape, dtype=table.dtype, device=gt.device)
    for word, of_labels in zip(sets, table):
        torch.index_select(of_labels, 0, labels.flatten(), out=word.flatten())
    return sets, members


def _labels_to_encode(labels: Tensor, num_labels: int) -> Tensor:
    """(num_labels,) bool on the CPU, at least one of them true.

    On a CPU the labels that are present, since smaller sets are faster. On a GPU all, since looking would synchronise.
    """
    if labels.device.type != 'cpu':
        return torch.ones(num_labels, dtype=torch.bool)
    present = torch.bincount(labels.flatten(), minlength=num_labels)[:num_labels] > 0
    present[0] = True
    return present


def _slide(x: Tensor, window: int, op: Callable, identity: int) -> Tensor:
    """Reduces the square window around each pixel of (..., H, W) by an idempotent `op`.

    Runs of 1, 2, 4... pixels are joined until two overlapping ones make a window: log2(k) steps, not k.
    """
    before, after = window // 2, (window - 1) // 2
    for dim, padding in ((-2, (0, 0, before, after)), (-1, (before, after))):
        extent = x.shape[dim]
        x, length = F.pad(x, padding, value=identity), 1
        while 2 * length <= window:
            count = x.shape[dim] - length
            x = op(x.narrow(dim, 0, count), x.narrow(dim, length, count))
            length *= 2
        x = op(x.narrow(dim, 0, extent), x.narrow(dim, window - length, extent))
    return x


def _filled(x: Tensor) -> Tensor:
    """All bits of an integer where any is: a mask. Comparisons and booleans would take several times longer."""
    return (-x).bitwise_or_(x).bitwise_right_shift_(8 * x.element_size() - 1)


def _union(sets: Tensor) -> Tensor:
    """(words, N, H, W) -> (N, H, W): not 0 where any word is not."""
    return reduce(torch.bitwise_or, sets)


def _only_several(sets: Tensor) -> Tensor:
    """Empties the sets, (words, N, H, W), that have but one member, in place."""
    several = _filled(_union((sets - 1).bitwise_and_(sets)))  # clearing the lowest bit leaves another
    for word in range(1, len(sets)):
        several |= _filled(_union(sets[:word])) & _filled(sets[word])
    return sets.bitwise_and_(several)


def _pool(sets: Tensor, num_members: int, size: Tuple[int, int]) -> Tensor:
    """Mean over each cell of each member's bit: (words, N, H, W) -> (N, num_members, h, w)."""
    height, width = sets.shape[-2:]
    if height % size[0] or width % size[1]:
        return _pool_unevenly(sets, num_members, size)
    rows = _sum_blocks([sets.unflatten(-2, (size[0], -1)).movedim(-2, 0)])
    counts = _sum_blocks([plane.unflatten(-1, (size[1], -1)).movedim(-1, 0).contiguous() for plane in rows])
    area = (height // size[0]) * (width // size[1])
    dtype = torch.uint8 if len(counts) <= 8 else torch.int32
    place = torch.arange(len(counts), dtype=dtype, device=sets.device).view(-1, 1, 1, 1, 1)
    total = (_unpack(torch.stack(counts), num_members).to(dtype) << place).sum(0, dtype=dtype)
    return total.float() / area


def _sum_blocks(number: List[Tensor]) -> List[Tensor]:
    """Adds along the first dimension, all members at once: halves to halves, until one is left.

    A number is a list of planes, plane i holding bit i of every member's count: 64 counters in one int64.
    """
    while len(number[0]) > 1:
        if len(number[0]) % 2:
            number = [torch.cat([plane, torch.zeros_like(plane[:1])]) for plane in number]
        number = _add(*zip(*(plane.chunk(2) for plane in number)))
    return [plane[0] for plane in number]


def _add(a: Sequence[Tensor], b: Sequence[Tensor]) -> List[Tensor]:
    """Binary addition with carry of two numbers of as many bit planes."""
    total, carry = [], None
    for x, y in zip(a, b):
        half, overflow = x ^ y, x & y
        if carry is None:
            total.append(half)
            carry = overflow
        else:
            total.append(half ^ carry)
            carry = overflow | (half & carry)
    return total + [carry]


def _unpack(planes: Tensor, num_members: int) -> Tensor:
    """(planes, words, N, h, w) -> (planes, N, num_members, h, w) of 0 and 1, byte by byte, as eight times smaller."""
    octets = planes.view(torch.uint8).unflatten(-1, (planes.shape[-1], -1))  # the lowest comes first in memory
    octets = octets.permute(0, 2, 1, 5, 3, 4).flatten(2, 3)[:, :, : -(-num_members // 8)].contiguous()
    shifts = torch.arange(8, dtype=torch.uint8, device=planes.device).view(-1, 1, 1)
    return ((octets[:, :, :, None] >> shifts) & 1).flatten(2, 3)[:, :, :num_members]


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
