"""Folding batch norm into convolutions, for a network that only runs inference."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.model import BaseModel
from mmrazor.models.task_modules.recorder import ModuleInputsRecorder
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..segmentors import forward_heads, input_channels
from .failures import explained

FLOAT_ERROR = 1e-3  # relative to the largest logit


@torch.no_grad()
def fold_batch_norm(model: BaseModel) -> int:
    """Folds each batch norm that follows a convolution into this convolution, in place, and freezes the model.

    The model is run once, on a random image, to find out which norm follows which convolution. These norms are left as
    they are:

    - norms whose input is anything but the output of one convolution,
    - norms without a scale or running statistics,
    - norms for which folding would change what a recorder records.

    Args:
        model: a segmentor with its final weights. Its hooks must be the recorders of a distillation.

    Returns:
        The number of folded norms.

    Raises:
        ValueError: if folding changes an output by more than float error, because the model uses the output or the
            weights of a convolution elsewhere too; see also `explained`.
    """
    training = model.training
    model.eval()
    size = model.data_preprocessor.size or (128, 128)  # some networks accept one size only
    shape = (1, input_channels(model), *size)
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(next(model.parameters()))
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        what = (
            f'the teacher fails on an image of {size[0]}x{size[1]}, on which folding tries it (set its '
            'data_preprocessor.size to the crop, or fold_teacher=False)'
        )
        with explained(model, what, image):
            pairs, before = _find_pairs(model, image)
        for conv, norm in pairs.items():
            _fold(conv, norm)
        _replace_by_identity(model, set(pairs.values()))
        after = _outputs(model, image)
    change = torch.stack([_change(old, new) for old, new in zip(before, after, strict=True)]).max().item()
    if not change < FLOAT_ERROR:
        raise ValueError(
            f'folding batch norm changes the logits of this {type(model).__name__} by {change:.1%}, expected less than '
            f'{FLOAT_ERROR:.1%}: it uses the output or the weights of a convolution before a batch norm elsewhere too. '
            'Set fold_teacher=False'
        )
    model.requires_grad_(False).train(training)
    return len(pairs)


def _find_pairs(model: BaseModel, image: Tensor) -> tuple[dict[nn.Conv2d, _BatchNorm], list[Tensor]]:
    """Runs the model, and returns {convolution: the batch norm that can be folded into it}, and the outputs."""
    calls: dict[nn.Conv2d, int] = defaultdict(int)  # of each convolution
    sources: dict[_BatchNorm, list[nn.Conv2d | None]] = defaultdict(
        list
    )  # for each call of a norm: the convolution whose output it gets, or None

    def after_convolution(conv: nn.Conv2d, inputs: tuple, output: Tensor) -> None:
        calls[conv] += 1
        output.source = conv, output._version  # type: ignore[attr-defined]

    def before_norm(norm: _BatchNorm, inputs: tuple[Tensor]) -> None:
        conv, version = getattr(inputs[0], 'source', (None, 0))
        sources[norm].append(conv if version == inputs[0]._version else None)  # None after an in-place operation

    hooks = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and _is_foldable_convolution(module):
            hooks.append(module.register_forward_hook(after_convolution))
        elif isinstance(module, _BatchNorm) and not module._forward_hooks:
            hooks.append(module.register_forward_pre_hook(before_norm))
    try:
        outputs = _outputs(model, image)
    finally:
        for hook in hooks:
            hook.remove()
    pairs = {}
    for norm, convolutions in sources.items():
        conv, *others = set(convolutions)
        foldable = norm.weight is not None and norm.running_mean is not None
        if conv is not None and foldable and not others and calls.get(conv) == len(convolutions):
            pairs[conv] = norm
    return pairs, outputs


def _is_foldable_convolution(conv: nn.Conv2d) -> bool:
    """Whether the weight is a plain parameter, and no recorder reads the output."""
    return 'weight' in conv._parameters and all(
        isinstance(getattr(hook, '__self__', None), ModuleInputsRecorder) for hook in conv._forward_hooks.values()
    )


def _fold(conv: nn.Conv2d, norm: _BatchNorm) -> None:
    mean, variance = norm.get_buffer('running_mean'), norm.get_buffer('running_var')
    scale = norm.weight / torch.sqrt(variance + norm.eps)
    bias = -mean if conv.bias is None else conv.bias - mean
    conv.weight = nn.Parameter(conv.weight * scale.reshape(-1, 1, 1, 1))
    conv.bias = nn.Parameter(bias * scale + norm.bias)


def _replace_by_identity(model: nn.Module, norms: set) -> None:
    for parent in model.modules():
        for name, child in parent._modules.items():
            if child in norms:
                parent._modules[name] = nn.Identity()


def _outputs(model: BaseModel, image: Tensor) -> list[Tensor]:
    # Each call draws the same random numbers: SegNeXt's head uses some in eval mode too.
    with torch.random.fork_rng([image.device] if image.is_cuda else []):
        return list(_tensors(forward_heads(model, image)))


def _tensors(output: Any) -> Iterator[Tensor]:
    """Yields the tensors of an output: some heads return a tuple of logits, or lists of them."""
    if isinstance(output, (list, tuple)):
        for part in output:
            yield from _tensors(part)
    else:
        yield output


def _change(old: Tensor, new: Tensor) -> Tensor:
    """Largest difference relative to the largest value; NaN if one of the outputs has NaN."""
    return (new - old).abs().max() / old.abs().max().clamp(min=torch.finfo(old.dtype).tiny)
