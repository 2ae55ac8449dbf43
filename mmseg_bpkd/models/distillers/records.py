"""Where the heads and backbones of MMSegmentation have their logits, features and stages, and how to record them."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModel, BaseModule
from mmrazor.models.task_modules.recorder import ModuleInputsRecorder, ModuleOutputsRecorder
from mmrazor.models.task_modules.recorder.base_recorder import BaseRecorder
from mmseg.models.backbones import DDRNet, PIDNet
from mmseg.models.decode_heads import (
    IterativeDecodeHead,
    PointHead,
    SegmenterMaskTransformerHead,
)
from torch import Tensor, nn

from ..losses.functional import in_full_precision
from ..segmentors import MASK_CLASSIFIERS


def classifying_head(heads: nn.Module, name: str) -> tuple[str, nn.Module]:
    """Returns the path and the module of the head that classifies every pixel.

    Args:
        heads: a head, or the `ModuleList` of a cascade. In a cascade it is the last head, except for a `PointHead`,
            which only classifies points.
        name: path of `heads` in the model.
    """
    if isinstance(heads, nn.ModuleList):
        index = max(i for i, head in enumerate(heads) if not isinstance(head, PointHead))
        name, heads = f'{name}.{index}', heads[index]
    return name, heads


def logits_recorder(name: str, head: nn.Module) -> BaseRecorder:
    """Returns a recorder of the logits before upsampling, (N, C, h, w).

    Args:
        name: path of the head in the model.
    """
    return ModuleOutputsRecorder(f'{name}.conv_seg') if hasattr(head, 'conv_seg') else HeadOutputRecorder(name)


def feature_recorder(name: str, head: nn.Module) -> BaseRecorder:
    """Returns a recorder of the feature before dropout and classifier. A record is a tuple that begins with it.

    Args:
        name: path of the head in the model.

    Raises:
        ValueError: if it is unknown where the head has its feature.
    """
    if isinstance(head, MASK_CLASSIFIERS):
        return ModuleOutputsRecorder(f'{name}.pixel_decoder')
    if isinstance(head, SegmenterMaskTransformerHead):
        return TokenMapRecorder(f'{name}.patch_proj')
    if isinstance(head, IterativeDecodeHead):
        name, head = f'{name}.kernel_generate_head', head.kernel_generate_head
    _require_classifier(head)
    return ModuleInputsRecorder(f'{name}.conv_seg' if head.dropout is None else f'{name}.dropout')


def feature_width(head: BaseModule) -> int:
    """Returns the channels of the feature that `feature_recorder` records."""
    if isinstance(head, MASK_CLASSIFIERS):
        return head.mask_embed[-1].out_features
    if isinstance(head, SegmenterMaskTransformerHead):
        return head.patch_proj.out_features
    if isinstance(head, IterativeDecodeHead):
        head = head.kernel_generate_head
    _require_classifier(head)
    return head.conv_seg.in_channels


def stages(backbone: nn.Module, output: Any) -> Sequence[Tensor]:
    """Returns the stages of a backbone, the same ones in training and in eval mode.

    DDRNet and PIDNet return one tensor in eval mode. In training, they also return the inputs of their extra heads.
    VisionTransformer may return pairs of a feature map and the class token.
    """
    if isinstance(output, Tensor):
        output = (output,)
    elif isinstance(backbone, (DDRNet, PIDNet)):
        output = output[1:2]
    return tuple(stage[0] if isinstance(stage, (list, tuple)) else stage for stage in output)


@in_full_precision
def mask_logits(class_scores: Tensor, masks: Tensor) -> Tensor:
    """Logits of a mask classifier: the logarithm of its class scores, so that their softmax is proportional to these.

    .. math::
        z_{c,i} = \\log \\sum_q \\mathrm{softmax}(s_q)_c \\; \\sigma(m_{q,i})

    The softmax over the scores of a query includes "no object", which is then left out, as in MaskFormer's inference
    (Cheng et al. 2021, section 3.4).

    Args:
        class_scores: s, (N, Q, C + 1).
        masks: m, (N, Q, h, w).

    Returns:
        (N, C, h, w)
    """
    scores = torch.einsum('nqc,nqhw->nchw', class_scores.softmax(-1)[..., :-1], masks.sigmoid())
    return scores.clamp(min=torch.finfo(scores.dtype).tiny).log()


class HeadOutputRecorder(BaseRecorder):
    """Records the logits that the `forward` of a head returns: the last of several, and those of a mask classifier.

    MMSegmentation calls `head.forward(x)`, not `head(x)`, so hooks on the head do not run. The method is replaced while
    the recorder is active.

    Raises:
        ValueError: if `forward` returns no logits.
    """

    def prepare_from_model(self, model: BaseModel) -> None:
        self.head = model.get_submodule(self.source)

    def __enter__(self) -> None:
        super().__enter__()
        forward = self.head.forward

        def recording(*args, **kwargs):
            output = forward(*args, **kwargs)
            self.data_buffer.append(self._logits(output))
            return output

        self.head.forward = recording

    def __exit__(self, *error) -> None:
        super().__exit__(*error)
        del self.head.forward

    def _logits(self, output: Any) -> Tensor:
        if isinstance(self.head, MASK_CLASSIFIERS):
            class_scores, masks = output
            return mask_logits(class_scores[-1], masks[-1])
        logits = output[-1] if isinstance(output, (list, tuple)) else output
        if not (isinstance(logits, Tensor) and logits.ndim == 4):
            what = f'{tuple(logits.shape)}' if isinstance(logits, Tensor) else f'a {type(logits).__name__}'
            raise ValueError(
                f'{type(self.head).__name__} has no conv_seg, and its forward returns {what}, expected logits '
                '(N, C, h, w): set recorders and loss_forward_mappings of the distiller'
            )
        return logits


class StagesRecorder(ModuleOutputsRecorder):
    """Records the `stages` of a backbone."""

    def forward_hook(self, module: nn.Module, inputs: tuple, outputs: Any) -> None:
        super().forward_hook(module, inputs, stages(module, outputs))


class TokenMapRecorder(ModuleOutputsRecorder):
    """Records tokens, (N, h * w, D), as a feature map, (N, D, h, w), of the size of the last stage of the backbone."""

    def prepare_from_model(self, model: BaseModel) -> None:
        super().prepare_from_model(model)
        model.backbone.register_forward_hook(self._remember_size)

    def _remember_size(self, module: nn.Module, inputs: tuple, outputs: Any) -> None:
        self.size = stages(module, outputs)[-1].shape[2:]

    def forward_hook(self, module: nn.Module, inputs: tuple, outputs: Tensor) -> None:
        super().forward_hook(module, inputs, (outputs.transpose(1, 2).unflatten(2, self.size),))


def _require_classifier(head: nn.Module) -> None:
    if not hasattr(head, 'conv_seg'):
        raise ValueError(
            f'{type(head).__name__} has no conv_seg, so its feature is unknown: use losses without feats, or set '
            'recorders and loss_forward_mappings of the distiller'
        )
