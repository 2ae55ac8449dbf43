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
FEW = {'cpu': 16}  # fewer classes all get a bit; on a GPU (32) even more, as to ask which are present is to wait for it


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
    masks, classes = present_edge_masks(gt, num_classes, size, kernel_size, ignore_index, void_edges)
    return masks if masks.shape[1] == num_classes else _among_all(masks, classes, num_classes)


@torch.no_grad()
def present_edge_masks(
    gt: Tensor,
    num_classes: int,
    size: Tuple[int, int],
    kernel_size: int = 7,
    ignore_index: int = 255,
    void_edges: bool = False,
) -> Tuple[Tensor, Tensor]:
    """`edge_masks` of the classes that are present, which may be a few of many.

    Returns:
        masks: (N, K, h, w), with K classes present in the image that has most; K = C if those are more than half.
        classes: (N, K), what they are the masks of; filled up with absent classes, all different. If K = C, in order.
    """
    if kernel_size < 1:
        raise ValueError(f'kernel_size must be at least 1 pixel, got {kernel_size}')
    sets, present = _class_sets(gt, num_classes, ignore_index, void_edges)
    edges = _only_several(_slide(sets, kernel_size, torch.bitwise_or, 0))
    if not void_edges:
        edges &= _filled(_union(sets))  # void is in no set, and no edge
    del sets
    of_classes = present[:, :num_classes]
    most = max(1, int(of_classes.sum(1).max()))
    classes = (~of_classes).byte().argsort(dim=1, stable=True)[:, :most]
    masks = _pool(edges, most, size)
    if void_edges:  # then void is a member too, in the place of an absent class
        masks *= of_classes.gather(1, classes).to(masks, non_blocking=True)[:, :, None, None]
    classes = classes.to(gt.device, non_blocking=True)
    if most > num_classes // 2 and not of_classes.all():  # else there is a mask of each already, in order
        masks = _among_all(masks, classes, num_classes)
        classes = torch.arange(num_classes, device=gt.device).expand(len(gt), -1)
    return masks, classes


def _among_all(masks: Tensor, classes: Tensor, num_classes: int) -> Tensor:
    """Masks of some classes, (N, K, h, w), to masks of all: (N, num_classes, h, w)."""
    dense = masks.new_zeros(len(masks), num_classes, *masks.shape[2:])
    dense[rows_of(classes)] = masks
    return dense


def rows_of(classes: Tensor) -> Tuple[Tensor, Tensor]:
    """Indexes what (N, C, ...) holds of these classes, (N, K): x[rows_of(classes)] is (N, K, ...)."""
    return torch.arange(len(classes), device=classes.device)[:, None], classes


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
    """The set {label} of each pixel, empty where void unless `void_edges`.

    Returns:
        sets: (words, N, H, W); the m-th class that the image has is bit m % bits of word m // bits.
        present: (N, num_classes + 1) bool on the CPU: what has a bit, void being the last class. Of few classes, each
            has one, whether it is in the image or not.
    """
    if num_classes <= ignore_index < 256:
        labels = gt.byte().clamp(max=num_classes)  # bytes are eight times less to read
    else:
        labels = gt.int()
        labels = labels.masked_fill(labels == ignore_index, num_classes)
    few = num_classes < FEW.get(gt.device.type, 32)
    present = torch.ones(len(gt), num_classes + 1, dtype=torch.bool) if few else _present(labels, num_classes + 1)
    present[:, num_classes] = void_edges
    if few:
        dtype = next(WORDS[bits] for bits in WORDS if bits > num_classes)
        sets = torch.ones((), dtype=dtype, device=gt.device) << labels.to(dtype)
        if not void_edges:
            sets &= (1 << num_classes) - 1
        return sets[None], present

    member = present.cumsum(1) - 1
    count = max(1, int(member.max()) + 1)
    bits = next((bits for bits in WORDS if bits >= count), 64)
    table = torch.zeros(-(-count // bits), *present.shape, dtype=torch.int64)
    image, cls = present.nonzero(as_tuple=True)
    m = member[image, cls]
    table[m // bits, image, cls] = torch.ones_like(m) << (m % bits)
    table = table.to(WORDS[bits]).to(gt.device, non_blocking=True).flatten(1)
    first = present.shape[1] * torch.arange(len(gt), dtype=torch.int32, device=gt.device)
    entry = labels.int().add_(first.view(-1, 1, 1)).flatten()
    return torch.stack([word.index_select(0, entry) for word in table]).unflatten(1, gt.shape), present


def _present(labels: Tensor, num_labels: int) -> Tensor:
    """(N, H, W) -> (N, num_labels) bool on the CPU: which labels each image has."""
    if labels.device.type == 'cpu':  # where counting is faster than scattering
        return torch.stack([torch.bincount(image.flatten(), minlength=num_labels) > 0 for image in labels])
    present = torch.zeros(len(labels), num_labels, dtype=torch.bool, device=labels.device)
    return present.scatter_(1, labels.flatten(1).long(), True).cpu()  # the only synchronisation


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
