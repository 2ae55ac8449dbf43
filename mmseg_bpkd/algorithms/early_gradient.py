"""The gradient of a head's own loss, made as soon as the loss is.

A head enlarges its logits to the size of the label, 64 times as many, and autograd keeps tensors of that size, of every
head, until the backward pass. All that is needed of them is the gradient with respect to the logits as they were.
"""

from typing import Dict, List, Tuple

import torch
from mmengine.model import BaseModel
from mmseg.models import CrossEntropyLoss
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.utils import resize
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import FunctionCtx, once_differentiable

from ..losses.functional import upcast

Results = Tuple[Dict[str, Tensor], Dict[str, Tensor]]  # what a head logs, and the gradients of the losses among it
EPS = torch.finfo(torch.float32).eps  # of MMSegmentation's accuracy


def make_gradients_early(model: BaseModel) -> None:
    """The same losses and gradients on less memory, in all heads with MMSegmentation's usual way from logits to losses.

    Not in those with a way of their own, nor where a loss has parameters to train, or hooks: a recorder of its inputs
    would find those of single images, without a way back to the student.
    """
    for head in model.modules():
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


def _losses(head: BaseDecodeHead) -> List[nn.Module]:
    return list(head.loss_decode) if isinstance(head.loss_decode, nn.ModuleList) else [head.loss_decode]


class EarlyGradient:
    """A head's `loss_by_feat`, whose losses bring their gradient along. It is made in float32, as AMP scales later."""

    def __init__(self, head: BaseDecodeHead) -> None:
        self.head = head
        self.loss_by_feat = head.loss_by_feat

    def __call__(self, seg_logits: Tensor, batch_data_samples: List[SegDataSample]) -> Dict[str, Tensor]:
        if not seg_logits.requires_grad:
            return self.loss_by_feat(seg_logits, batch_data_samples)
        values, gradients = self.results(seg_logits.detach(), batch_data_samples)
        return {
            name: PrecomputedGradient.apply(seg_logits, value, gradients[name]) if name in gradients else value
            for name, value in values.items()
        }

    def results(self, seg_logits: Tensor, samples: List[SegDataSample]) -> Results:
        logits = upcast(seg_logits).requires_grad_()
        values = self.loss_by_feat(logits, samples)
        losses = {name: value.mean() for name, value in values.items() if value.requires_grad}  # as MMEngine would
        return {name: value.detach() for name, value in {**values, **losses}.items()}, gradients_of(losses, logits)


class ImageByImage(EarlyGradient):
    """Where the loss is a mean over the images: no more than one is in memory, and nothing waits for the accuracy."""

    def results(self, seg_logits: Tensor, samples: List[SegDataSample]) -> Results:
        labels = self.head._stack_batch_gt(samples)
        values, gradients, correct = {}, {}, 0
        for one, label in zip(seg_logits.split(1), labels, strict=True):
            logits = upcast(one).requires_grad_()
            losses, correct_of_one = self.of_image(logits, label)
            for name, value in losses.items():
                values[name] = values.get(name, 0) + value.detach() / len(labels)
            for name, gradient in gradients_of(losses, logits).items():
                gradients.setdefault(name, []).append(gradient / len(labels))
            correct += correct_of_one
        valid = (labels != self.head.ignore_index).sum()
        values['acc_seg'] = (100 * (correct + EPS) / (valid + EPS)).reshape(1)
        return values, {name: torch.cat(of_images) for name, of_images in gradients.items()}

    def of_image(self, logits: Tensor, label: Tensor) -> Tuple[Dict[str, Tensor], Tensor]:
        """Its losses, and how many pixels are right. The enlarged logits end here: no loss needs them any more."""
        head = self.head
        enlarged = resize(logits, label.shape[1:], mode='bilinear', align_corners=head.align_corners)
        losses = {}
        for loss in _losses(head):
            value = loss(enlarged, label, ignore_index=head.ignore_index)
            losses[loss.loss_name] = losses.get(loss.loss_name, 0) + value
        correct = (enlarged.detach().argmax(1) == label) & (label != head.ignore_index)
        return losses, correct.sum()


def gradients_of(losses: Dict[str, Tensor], logits: Tensor) -> Dict[str, Tensor]:
    """What the losses were made with is forgotten with the last of them."""
    last = next(reversed(losses), None)
    return {name: torch.autograd.grad(value, logits, retain_graph=name != last)[0] for name, value in losses.items()}


class PrecomputedGradient(Function):
    """A value whose gradient is known."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        ctx.dtype = x.dtype
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, upstream: Tensor) -> Tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return (upstream * gradient).to(ctx.dtype), None, None
