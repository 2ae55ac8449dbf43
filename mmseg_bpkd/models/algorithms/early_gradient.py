"""Computing the gradient of a head's own loss in the forward pass, to save memory.

A head upsamples its logits to the size of the label: 64 times as many values at stride 8. Autograd keeps several
tensors of that size, for every head, until the backward pass. Only the gradient with respect to the small logits is
needed. Computing it together with the loss frees the large tensors at once.
"""

from typing import Any

import torch
from mmengine.model import BaseModel
from mmseg.models import CrossEntropyLoss
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.utils import resize
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ..losses.functional import upcast

# What a head logs, and the gradients of those values that are losses.
Results = tuple[dict[str, Tensor], dict[str, Tensor]]
EPS = torch.finfo(torch.float32).eps  # MMSegmentation's accuracy adds it to both counts


def make_gradients_early(model: BaseModel) -> None:
    """Replaces `loss_by_feat` of the heads of a segmentor, in place. Losses and gradients stay the same.

    These heads are left unchanged:

    - heads that override `loss_by_feat`,
    - heads whose losses have trained parameters: the gradient is computed for the logits only,
    - heads whose losses have hooks: a recorder would get the logits of single images, detached from the student.
    """
    for head in model.modules():
        # An attribute of the built head: `BaseDecodeHead.loss` calls it and offers no other seam around its losses.
        if isinstance(head, BaseDecodeHead) and _is_usual(head):
            head.loss_by_feat = ImageByImage(head) if _is_mean_over_images(head) else EarlyGradient(head)


def _is_usual(head: BaseDecodeHead) -> bool:
    return (
        type(head).loss_by_feat is BaseDecodeHead.loss_by_feat
        and 'loss_by_feat' not in vars(head)
        and not list(head.loss_decode.parameters())
        and not any(part._forward_hooks or part._forward_pre_hooks for part in head.loss_decode.modules())
    )


def _is_mean_over_images(head: BaseDecodeHead) -> bool:
    return head.sampler is None and all(
        type(loss) is CrossEntropyLoss
        and loss.reduction == 'mean'
        and loss.class_weight is None
        and not (loss.use_sigmoid or loss.use_mask or loss.avg_non_ignore)
        for loss in _losses(head)
    )


def _losses(head: BaseDecodeHead) -> list:
    return list(head.loss_decode) if isinstance(head.loss_decode, nn.ModuleList) else [head.loss_decode]


class EarlyGradient:
    """A `loss_by_feat` that computes the gradient of each loss together with its value.

    The gradient is computed in float32: AMP scales the loss only after the forward pass, so small gradients would
        underflow in half precision.

    Args:
        head: its `loss_by_feat` computes the losses.
    """

    def __init__(self, head: BaseDecodeHead) -> None:
        self.head = head
        self.loss_by_feat = head.loss_by_feat

    def __call__(self, seg_logits: Tensor, batch_data_samples: list[SegDataSample]) -> dict[str, Tensor]:
        if not seg_logits.requires_grad:
            return self.loss_by_feat(seg_logits, batch_data_samples)
        values, gradients = self.results(seg_logits.detach(), batch_data_samples)
        return {
            name: PrecomputedGradient.apply(seg_logits, value, gradients[name]) if name in gradients else value
            for name, value in values.items()
        }

    def results(self, seg_logits: Tensor, samples: list[SegDataSample]) -> Results:
        """Computes what the head logs, and the gradients of the losses.

        Args:
            seg_logits: detached, (N, C, h, w).
        """
        logits = upcast(seg_logits).requires_grad_()
        values = self.loss_by_feat(logits, samples)
        losses = {
            name: value.mean() for name, value in values.items() if value.requires_grad
        }  # MMEngine takes this mean
        return {name: value.detach() for name, value in {**values, **losses}.items()}, gradients_of(losses, logits)


class ImageByImage(EarlyGradient):
    """An `EarlyGradient` for losses that are a mean over the images.

    Images are processed one by one, so only one is in memory at full size. The accuracy needs no GPU synchronization.
    """

    def results(self, seg_logits: Tensor, samples: list[SegDataSample]) -> Results:
        labels = self.head._stack_batch_gt(samples)
        values: dict[str, Tensor] = {}
        gradients: dict[str, list[Tensor]] = {}
        correct: Tensor | int = 0
        for one, label in zip(seg_logits.split(1), labels, strict=True):
            logits = upcast(one).requires_grad_()
            losses, image_correct = self.image_losses(logits, label)
            for name, value in losses.items():
                values[name] = values.get(name, 0) + value.detach() / len(labels)
            for name, gradient in gradients_of(losses, logits).items():
                gradients.setdefault(name, []).append(gradient / len(labels))
            correct += image_correct
        valid = (labels != self.head.ignore_index).sum()
        values['acc_seg'] = (100 * (correct + EPS) / (valid + EPS)).reshape(1)
        return values, {name: torch.cat(image_gradients) for name, image_gradients in gradients.items()}

    def image_losses(self, logits: Tensor, label: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Returns the losses of one image and the number of correct pixels. The upsampled logits are freed on return.

        Args:
            logits: (1, C, h, w).
            label: (1, H, W).
        """
        head = self.head
        enlarged = resize(logits, label.shape[1:], mode='bilinear', align_corners=head.align_corners)
        losses: dict[str, Tensor] = {}
        for loss in _losses(head):
            value = loss(enlarged, label, ignore_index=head.ignore_index)
            losses[loss.loss_name] = losses.get(loss.loss_name, 0) + value
        correct = (enlarged.detach().argmax(1) == label) & (label != head.ignore_index)
        return losses, correct.sum()


def gradients_of(losses: dict[str, Tensor], logits: Tensor) -> dict[str, Tensor]:
    """Returns the gradient of each loss with respect to the logits, and frees the graph after the last loss."""
    last = next(reversed(losses), None)
    return {name: torch.autograd.grad(value, logits, retain_graph=name != last)[0] for name, value in losses.items()}


class PrecomputedGradient(Function):
    """Returns `value`, and gives `gradient` as its gradient with respect to `x`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        ctx.dtype = x.dtype
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return (upstream * gradient).to(ctx.dtype), None, None
