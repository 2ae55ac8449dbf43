"""Folding batch norm into convolutions, for a network that only runs inference."""

import torch
from mmcv.cnn import fuse_conv_bn
from mmengine.model import BaseModel
from mmrazor.models.task_modules.recorder import ModuleInputsRecorder
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..segmentors import forward_heads

FLOAT_ERROR = 1e-3  # relative to the largest logit


@torch.no_grad()
def fold_batch_norm(model: BaseModel) -> None:
    """Folds each batch norm into the convolution that is registered before it, in place, and freezes the model.

    Args:
        model: a segmentor with its final weights. Its hooks must be the recorders of a distillation.

    Raises:
        ValueError: if a norm has no scale or no running statistics; if folding changes what a recorder records; or if
            the logits of a head change by more than float error, because the model calls its norms in another order
            than it registers them.
    """
    for name, norm in model.named_modules():
        if isinstance(norm, _BatchNorm) and (norm.weight is None or norm.running_mean is None):
            raise ValueError(
                f'the batch norm {name} has no scale or no running statistics, but folding needs both: '
                'set fold_teacher=False'
            )
    recorded = {
        name: (module, getattr(module, 'weight', None))
        for name, module in model.named_modules()
        if module._forward_hooks
    }
    training = model.training
    model.eval()
    size = model.data_preprocessor.size or (128, 128)  # some networks accept one size only
    image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0)).to(next(model.parameters()))
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        before = forward_heads(model, image)
        fuse_conv_bn(model)
        after = forward_heads(model, image)
    change = torch.stack([(new - old).abs().max() / old.abs().max() for new, old in zip(after, before)]).max()
    if not change < FLOAT_ERROR:
        raise ValueError(
            f'folding batch norm changes the logits of this {type(model).__name__} by {change:.1%}, expected less than '
            f'{FLOAT_ERROR:.1%}: a batch norm is not called right after the convolution that is registered before '
            'it. Set fold_teacher=False'
        )
    for name, (module, weight) in recorded.items():
        replaced, reweighted = model.get_submodule(name) is not module, getattr(module, 'weight', None) is not weight
        if replaced or reweighted and not _only_inputs_are_recorded(module):
            raise ValueError(
                f'what is recorded of {name} changes if batch norm is folded into the convolution before it: '
                'set fold_teacher=False, or record another module'
            )
    model.requires_grad_(False).train(training)


def _only_inputs_are_recorded(module: nn.Module) -> bool:
    return all(
        isinstance(getattr(hook, '__self__', None), ModuleInputsRecorder) for hook in module._forward_hooks.values()
    )
