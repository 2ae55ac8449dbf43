"""The gradient of a head's own loss, made as soon as the loss is.

A head enlarges its logits to the size of the label, 64 times as many, and autograd keeps tensors of that size, of every
head, until the backward pass. All that is needed of them is the gradient with respect to the logits as they were.
"""
from typing import Dict, List, Tuple

import torch
from mmengine.model import BaseModel
from mmseg.models import CrossEntropyLoss
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import FunctionCtx, once_differentiable

from ..losses.functional import full


def make_gradients_early(model: BaseModel) -> None:
    """The same losses and gradients on less memory, in all heads but those whose losses themselves are trained."""
    for head in model.modules():
        if isinstance(head, BaseDecodeHead) and not list(head.loss_decode.parameters()):
            head.loss_by_feat = (ImageByImage if _is_mean_over_images(head) else EarlyGradient)(head)


def _is_mean_over_images(head: BaseDecodeHead) -> bool:
    losses = head.loss_decode if isinstance(head.loss_decode, nn.ModuleList) else [head.loss_decode]
    return type(head).loss_by_feat is BaseDecodeHead.loss_by_feat and head.sampler is None and all(
        type(loss) is CrossEntropyLoss and loss.reduction == 'mean' and loss.class_weight is None
        and not (loss.use_sigmoid or loss.use_mask or loss.avg_non_ignore) for loss in losses)


Results = Tuple[Dict[str, Tensor], Dict[str, Tensor]]  # values, and gradients of those that are losses


class EarlyGradient:
    """A head's `loss_by_feat`, whose losses bring their gradient along. It is made in float32, as AMP scales later."""

    def __init__(self, head: BaseDecodeHead) -> None:
        self.loss_by_feat = head.loss_by_feat
        self.ignore_index = head.ignore_index

    def __call__(self, seg_logits: Tensor, *args) -> Dict[str, Tensor]:
        if not (isinstance(seg_logits, Tensor) and seg_logits.requires_grad):  # nothing to learn, or a tuple of logits
            return self.loss_by_feat(seg_logits, *args)
        values, gradients = self.calculate(seg_logits.detach(), *args)
        return {name: Known.apply(seg_logits, value, gradients[name]) if name in gradients else value
                for name, value in values.items()}

    def calculate(self, seg_logits: Tensor, *args) -> Results:
        logits = full(seg_logits).requires_grad_()
        values = self.loss_by_feat(logits, *args)
        learned = [name for name, value in values.items() if value.requires_grad]
        gradients = {}
        for name in learned:
            value = values[name].mean()  # as MMEngine does with what is no scalar
            gradients[name], = torch.autograd.grad(value, logits, retain_graph=name != learned[-1])
            values[name] = value.detach()
        return values, gradients


class ImageByImage(EarlyGradient):
    """Where the loss is a mean over the images: one after the other, and no more than one in memory."""

    def calculate(self, seg_logits: Tensor, samples: List[SegDataSample]) -> Results:
        of_images = [super(ImageByImage, self).calculate(logits, [sample])
                     for logits, sample in zip(seg_logits.split(1), samples)]
        values, gradients = ({name: [part[name] for part in parts] for name in parts[0]} for parts in zip(*of_images))
        gradients = {name: torch.cat(parts) / len(parts) for name, parts in gradients.items()}
        valid = torch.stack([(sample.gt_sem_seg.data != self.ignore_index).sum() for sample in samples])
        shares = valid / valid.sum().clamp(min=1)  # which the accuracy is the mean over
        values = {name: torch.stack(parts).mean() if name in gradients else (torch.cat(parts) * shares).sum()
                  for name, parts in values.items()}
        return values, gradients


class Known(Function):
    """A value whose gradient is known."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        ctx.dtype = x.dtype
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, upstream: Tensor) -> Tuple[Tensor, None, None]:
        gradient, = ctx.saved_tensors
        return (upstream * gradient).to(ctx.dtype), None, None
