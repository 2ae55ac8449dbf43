"""BPKD and CWD against MMRazor's CWD on the same logits, batch 2: forward and backward pass, masks included.

"reference" means the formulas of tests/reference.py.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import reference
import torch
from mmrazor.models.losses import ChannelWiseDivergence
from torch import Tensor

from mmseg_bpkd.models.losses import BPKDLoss, CWDLoss

from .masks import regions
from .measuring import DEVICE, milliseconds_in_turn, peak_growth, ratio

FORMAT = (
    '{case}: {loss}: {ms:.1f} ms, {ratio:.2f} times ({ratio_least:.2f} to {ratio_most:.2f}); '
    '{megabytes:.0f} MiB, {memory_ratio:.2f} times'
)
RIVAL = "MMRazor's CWD"
LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    RIVAL: lambda preds_S, preds_T, gt: ChannelWiseDivergence(tau=1, loss_weight=5)(preds_S, preds_T),
    'CWD': lambda preds_S, preds_T, gt: CWDLoss(weight=5, tau=1)(preds_S, preds_T),
    'BPKD': lambda preds_S, preds_T, gt: BPKDLoss(edge_weight=20, body_weight=5)(preds_S, preds_T, gt),
    'CWD, reference': lambda preds_S, preds_T, gt: 5 * reference.channel_kl(preds_S, preds_T).mean(),
    'BPKD, reference': lambda preds_S, preds_T, gt: (
        20 * reference.bpkd_edge(preds_S, preds_T, gt) + 5 * reference.bpkd_body(preds_S, preds_T, gt)
    ),
}
CASES = {  # classes, classes per image, height, width, stride of the logits
    '150 classes, 512x512, stride 8': (150, 20, 512, 512, 8),
    '150 classes, 512x512, stride 4': (150, 20, 512, 512, 4),
    '19 classes, 512x1024, stride 8': (19, 15, 512, 1024, 8),
    '19 classes, 512x1024, stride 4': (19, 15, 512, 1024, 4),
}


def records(num_classes: int, present: int, height: int, width: int, stride: int, images: int = 2) -> tuple:
    """Random logits of a student and a teacher, and a label, as a loss takes them."""
    preds_S, preds_T = torch.randn(2, images, num_classes, height // stride, width // stride, device=DEVICE)
    return preds_S.requires_grad_(), preds_T, regions(num_classes, present, height, width, images).to(DEVICE)


def forward_and_backward(loss: str, given: tuple) -> None:
    given[0].grad = None
    LOSSES[loss](*given).backward()


def compare(runs: int, names: Sequence[str] = ()) -> Iterator[dict]:
    names = names or LOSSES
    for case, shape in CASES.items():
        given = records(*shape)
        memory = {loss: peak_growth(partial(prepared, loss), partial(warm_up, loss, shape)) for loss in names}
        for loss in names:
            pair = {name: partial(forward_and_backward, name, given) for name in (RIVAL, loss)}
            times = milliseconds_in_turn(pair, runs)
            yield dict(
                ratio(times[loss], times[RIVAL]),
                case=case,
                loss=loss,
                megabytes=memory[loss],
                memory_ratio=memory[loss] / memory[RIVAL],
            )


def warm_up(loss: str, shape: tuple) -> None:
    """Creates the inputs, and calls the loss once on small ones. Neither counts as memory of the loss."""
    num_classes, present, _, _, stride = shape
    GIVEN.append(records(*shape))
    forward_and_backward(loss, records(num_classes, present, 16 * stride, 16 * stride, stride))


def prepared(loss: str) -> Callable[[], None]:
    return partial(forward_and_backward, loss, GIVEN[-1])


GIVEN = []
