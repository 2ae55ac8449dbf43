"""Class boundaries: soft edge masks for the losses and boundary bands for the metrics. Pure tensor functions.

The usual morphology runs one dilation and one erosion per class. Here each pixel has an integer with one bit per class,
which encodes the set of classes in the window around the pixel. One sliding window serves all classes.
"""

from collections.abc import Callable
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

INT_TYPES = {16: torch.int16, 32: torch.int32, 64: torch.int64}  # number of bits -> integer type of a set
# Lookup table from a byte to an int32 with eight 4-bit fields, one per bit. Bits 0 to 3 go to the low halves of the
# bytes 0 to 3, bits 4 to 7 to the high halves.
BYTE_TO_NIBBLES = reduce(
    torch.bitwise_or, (((torch.arange(256) >> bit) & 1) << (8 * (bit % 4) + 4 * (bit // 4)) for bit in range(8))
).int()


@torch.no_grad()
def edge_masks(
    gt: Tensor,
    num_classes: int,
    size: tuple[int, int],
    kernel_size: int = 7,
    ignore_index: int = 255,
    void_edges: bool = False,
) -> Tensor:
    """Soft class-wise edge masks (BPKD, arXiv 2306.08075, section 3.2), pooled to the size of the logits.

    The edge of class c is E_c = dilate(G_c) - erode(G_c) with a k x k square, where G_c = [gt = c]. These are the
    pixels whose window contains c and something else. The image border creates no edge.

    Args:
        gt: label, (N, H, W), integers in [0, num_classes) or `ignore_index` (void).
        size: (h, w) of the masks. If it does not divide (H, W), the cells are those of adaptive pooling and overlap.
        kernel_size: k, side of the square window in pixels of the label. The edge along a straight boundary between two
            classes is k - 1 pixels wide, for odd and even k. An even window is not centered: as in OpenCV, it covers
            k / 2 pixels above and to the left, and k / 2 - 1 below and to the right.
        void_edges: if False, only boundaries between two classes are edges, and void pixels are in no mask. If True,
            boundaries between a class and void are edges too, on both sides, as the formula says.

    Returns:
        (N, num_classes, h, w), float32 in [0, 1]: the share of each cell that is edge of the class.

    Raises:
        ValueError: if `kernel_size` is less than 1.

    >>> gt = torch.tensor([[[0, 0, 0, 1, 1, 1]]])
    >>> edge_masks(gt, num_classes=2, size=(1, 2), kernel_size=3)[0, 0]  # one of three pixels of each cell is edge
    tensor([[0.3333, 0.3333]])
    """
    if kernel_size < 1:
        raise ValueError(f'kernel_size must be at least 1 pixel, got {kernel_size}')
    if gt.device.type == 'cpu' and len(gt) > 1:  # one by one: less memory, and fewer classes at a time
        settings = num_classes, size, kernel_size, ignore_index, void_edges
        return torch.cat([edge_masks(image, *settings) for image in gt.split(1)])
    labels = gt.to(torch.int32, copy=True)
    void = labels == ignore_index
    labels.masked_fill_(void, num_classes)
    members = _encoded_labels(labels, num_classes + 1)
    members[num_classes] = void_edges
    edges = _clear_singletons(_slide(_class_sets(labels, members), kernel_size, torch.bitwise_or, 0))
    if not void_edges:
        edges.masked_fill_(void, 0)
    del labels, void
    present = members[:num_classes]
    present_masks = _pool(edges, int(present.sum()), size)
    if present.all():
        return present_masks
    masks = present_masks.new_zeros(len(gt), num_classes, *size)
    return masks.index_copy_(1, present.nonzero().squeeze(1), present_masks)


@torch.no_grad()
def boundary_band(gt: Tensor, half_width: int, ignore_index: int = 255) -> Tensor:
    """Valid pixels that have another valid class within `half_width` pixels (square window).

    Args:
        gt: label, (N, H, W), integers below 32768.
        half_width: in pixels.

    Returns:
        (N, H, W), bool. Void pixels are not in the band, and a boundary to void creates no band.

    Raises:
        ValueError: if `half_width` is less than 1.

    >>> boundary_band(torch.tensor([[[0, 0, 0, 1, 1, 1]]]), half_width=1).int()
    tensor([[[0, 0, 1, 1, 0, 0]]], dtype=torch.int32)
    """
    if half_width < 1:
        raise ValueError(f'half_width must be at least 1 pixel, got {half_width}')
    valid = gt.int() != ignore_index  # int: in a uint8 tensor, ignore_index=-1 would match 255
    labels = gt.to(torch.int16)
    limits = torch.iinfo(torch.int16)
    window = 2 * half_width + 1
    highest = _slide(labels.masked_fill(~valid, limits.min), window, torch.maximum, limits.min)
    lowest = _slide(labels.masked_fill(~valid, limits.max), window, torch.minimum, limits.max)
    return (highest != lowest) & valid


def _class_sets(labels: Tensor, members: Tensor) -> Tensor:
    """The set {label} of each pixel; the empty set if the label is not a member.

    Args:
        labels: (N, H, W), int32.
        members: (num_labels,), bool, on the CPU: the labels that can be in a set.

    Returns:
        (words, N, H, W). The bit of a label is its rank among the members. A word has 16, 32 or 64 bits, and there are
        several words if there are more than 64 members.
    """
    rank = torch.arange(int(members.sum()))
    bits = next((bits for bits in INT_TYPES if bits >= len(rank)), 64)
    table = torch.zeros(-(-len(rank) // bits), len(members), dtype=torch.int64)
    table[rank // bits, members.nonzero().squeeze(1)] = 1 << (rank % bits)
    table = table.to(INT_TYPES[bits]).to(labels.device, non_blocking=True)
    sets = torch.empty(len(table), *labels.shape, dtype=table.dtype, device=labels.device)
    for word, bits_of_labels in zip(sets, table):
        torch.index_select(bits_of_labels, 0, labels.flatten(), out=word.flatten())
    return sets


def _encoded_labels(labels: Tensor, num_labels: int) -> Tensor:
    """Which labels get a bit: (num_labels,), bool, on the CPU. At least one is true.

    On a CPU, only the labels that occur get one, because small sets are faster. On a GPU, every label gets one, because
    finding the labels that occur would force a synchronization.
    """
    if labels.device.type != 'cpu':
        return torch.ones(num_labels, dtype=torch.bool)
    present = torch.bincount(labels.flatten(), minlength=num_labels)[:num_labels] > 0
    present[0] = True
    return present


def _slide(x: Tensor, window: int, op: Callable, identity: int) -> Tensor:
    """Reduces the square window around each pixel of (..., H, W) by an idempotent `op`.

    Runs of 1, 2, 4, ... pixels are combined until two overlapping runs cover the window: log2(k) steps instead of k.
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


def _nonzero_mask(x: Tensor) -> Tensor:
    """Returns -1 (all bits set) where x is non-zero, and 0 elsewhere. Faster than a comparison and a multiplication."""
    return (-x).bitwise_or_(x).bitwise_right_shift_(8 * x.element_size() - 1)


def _union(sets: Tensor) -> Tensor:
    """(words, N, H, W) to (N, H, W): non-zero where any word is non-zero."""
    return reduce(torch.bitwise_or, sets)


def _clear_singletons(sets: Tensor) -> Tensor:
    """Clears, in place, the sets that have only one member. sets: (words, N, H, W)."""
    several = _nonzero_mask(_union((sets - 1).bitwise_and_(sets)))  # x & (x - 1) clears the lowest bit
    for word in range(1, len(sets)):
        several |= _nonzero_mask(_union(sets[:word])) & _nonzero_mask(sets[word])
    return sets.bitwise_and_(several)


def _pool(sets: Tensor, num_members: int, size: tuple[int, int]) -> Tensor:
    """Share of each cell whose sets contain each member: (words, N, H, W) to (N, num_members, h, w).

    Counts eight members at a time, in eight 4-bit fields of an int32. The fields are summed over the rows of a cell, so
    a cell may have at most 15 rows. They are then widened to bytes and summed over the columns, so a cell may have at
    most 255 pixels.
    """
    height, width = sets.shape[-2] // size[0], sets.shape[-1] // size[1]  # of a cell, in pixels
    if sets.shape[-2] % size[0] or sets.shape[-1] % size[1] or height > 15 or height * width > 255:
        return _pool_unevenly(sets, num_members, size)
    spread = BYTE_TO_NIBBLES.to(sets.device, non_blocking=True)
    # little-endian: octet i has the bits 8 * i to 8 * i + 7
    octets = sets.view(torch.uint8).unflatten(-1, (sets.shape[-1], -1))
    counts = []
    for word in range(len(sets)):
        for octet in octets[word].unbind(-1)[: -(-(num_members - 64 * word) // 8)]:
            row_counts = spread.index_select(0, octet.flatten().int()).view(-1, size[0], height, *size[1:], width)
            row_counts = row_counts.sum(2, dtype=torch.int32)
            nibble_counts = torch.stack([row_counts & 0x0F0F0F0F, (row_counts >> 4) & 0x0F0F0F0F], -2)
            counts.append(nibble_counts.sum(-1, dtype=torch.int32))
    pixels = torch.cat(counts, -1).view(torch.uint8)[..., :num_members]  # (N, h, w, num_members)
    return pixels.permute(0, 3, 1, 2).float() / (height * width)


def _pool_unevenly(sets: Tensor, num_members: int, size: tuple[int, int], chunk: int = 8) -> Tensor:
    """Adaptive pooling of `chunk` members at a time, which limits the memory with many classes."""
    bits = 8 * sets.element_size()
    pooled = []
    for i, word in enumerate(sets):
        all_shifts = torch.arange(min(bits, num_members - i * bits), dtype=sets.dtype, device=sets.device)
        for shifts in all_shifts.split(chunk):
            members = (word.unsqueeze(1) >> shifts.view(-1, 1, 1)) & 1
            pooled.append(F.adaptive_avg_pool2d(members.float(), size))
    return torch.cat(pooled, dim=1)
