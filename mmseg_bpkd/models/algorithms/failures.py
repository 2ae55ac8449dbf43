"""Finding out why a network cannot process a batch, to say it in one sentence."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import torch
from mmengine.model import BaseModel
from mmseg.models.decode_heads import DDRHead, LRASPPHead, PIDHead
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.structures import SegDataSample
from torch import Tensor

from ..segmentors import input_channels


@contextmanager
def explained(
    model: BaseModel, what: str, inputs: Tensor, data_samples: Sequence[SegDataSample] = ()
) -> Iterator[None]:
    """Replaces an error of the forward pass by a `ValueError` with its reason, if this is known.

    The search for the reason begins after the error, so it costs nothing as long as there is none.

    Args:
        model: the segmentor that runs in the `with` block.
        what: what fails, as the beginning of the message.
        inputs: preprocessed images, (N, channels, H, W).
        data_samples: the samples, if the block computes losses.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError:
        raise
    except (AssertionError, AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        reason = None
        with suppress(Exception):  # the original error says more than one of the search
            reason = find_reason(model, inputs, data_samples)
        if reason is None:
            raise
        raise ValueError(f'{what}: {reason}') from error


@torch.no_grad()
def find_reason(model: BaseModel, inputs: Tensor, data_samples: Sequence[SegDataSample]) -> str | None:
    """Returns why a segmentor cannot process a batch, or None."""
    expected = input_channels(model)
    if inputs.shape[1] != expected:
        return (
            f'the images have {inputs.shape[1]} channels, but the network takes {expected}, one for each mean of its '
            "data_preprocessor: set color_type of LoadImageFromFile ('color' gives 3, 'grayscale' 1, 'unchanged' those "
            'of the file)'
        )
    heads = [(name, head) for name, head in model.named_modules() if isinstance(head, BaseDecodeHead)]
    for name, head in heads:
        if isinstance(head, PIDHead) and data_samples and 'gt_edge_map' not in data_samples[0]:
            return (
                f'{name} (PIDHead) learns from a map of edges, gt_edge_map, which the samples do not have: add '
                "dict(type='GenerateEdge', edge_width=4) before PackSegInputs in train_pipeline"
            )
    features = model.extract_feat(inputs)
    for name, head in heads:
        reason = _wrong_widths(head, features) or _too_small(head, features, inputs)
        if reason:
            return f'{name} ({type(head).__name__}) {reason}'
    return None


def _wrong_widths(head: BaseDecodeHead, features: Sequence[Tensor]) -> str | None:
    if isinstance(head, (DDRHead, PIDHead)) or not hasattr(head, 'in_index'):  # these choose their inputs otherwise
        return None
    indices = [head.in_index] if isinstance(head.in_index, int) else list(head.in_index)
    last = max(index if index >= 0 else -index - 1 for index in indices)
    if last >= len(features):
        return f'has in_index={head.in_index}, but backbone and neck return {len(features)} feature maps'
    widths = [features[index].shape[1] for index in indices]
    expected = head.in_channels if isinstance(head.in_channels, int) else list(head.in_channels)
    found = widths if isinstance(expected, list) else sum(widths)
    if found != expected:
        return (
            f'has in_channels={expected}, but the feature maps of its in_index={head.in_index} have {found} channels: '
            'set in_channels of this head'
        )
    return None


def _too_small(head: BaseDecodeHead, features: Sequence[Tensor], inputs: Tensor) -> str | None:
    if not isinstance(head, LRASPPHead):
        return None
    window, (height, width) = head.image_pool[0].kernel_size, features[head.in_index[-1]].shape[2:]
    if min(height, width) >= window:
        return None
    stride = inputs.shape[2] // height
    return (
        f'averages windows of {window}x{window} cells, but the feature map of a crop of {inputs.shape[2]}x'
        f'{inputs.shape[3]} has {height}x{width} cells: use a crop of at least {window * stride}x{window * stride}'
    )
