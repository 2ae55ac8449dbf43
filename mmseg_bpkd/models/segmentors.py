"""Segmentors: resolving a config path plus changes, building a network, running its heads."""

import copy
from collections.abc import Iterator, Sequence
from inspect import signature
from logging import WARNING
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.model import BaseModel, BaseModule
from mmengine.registry import MODELS, DefaultScope
from mmseg.models.decode_heads import Mask2FormerHead, MaskFormerHead, PointHead
from mmseg.registry import MODELS as SEGMENTORS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmseg_bpkd.fileio.package_files import load_config_file
from mmseg_bpkd.fileio.stored_config import stored_normalization

# Replaced by `SegDistill` and `plain_segmentor`: the keys of `task` in the config of a data set.
COMMON = ('num_classes', 'ignore_index', 'data_preprocessor', 'test_cfg')

NORMALIZATION = ('mean', 'std', 'bgr_to_rgb')

MASK_CLASSIFIERS = (MaskFormerHead, Mask2FormerHead)
NOT_DISTILLABLE = dict(
    MultimodalEncoderDecoder='classifies masks with the text encoder of CLIP and has no backbone',
    DepthEstimator='estimates depth and has no classes',
)
BINARY_HEADS = ('STDCHead',)  # their classes are boundary and no boundary
MAX_CLASSES = 255  # labels and predictions are stored in bytes, and one value is void


def resolve_segmentor(
    segmentor: dict,
    num_classes: int | None = None,
    data_preprocessor: dict | None = None,
    test_cfg: dict | None = None,
    ignore_index: int | None = None,
) -> ConfigDict:
    """Returns the plain model config that `segmentor` describes.

    Args:
        segmentor: a model config, or `dict(cfg_path=..., **changes)`. `cfg_path` is 'package::path', relative to the
            configs of an installed package ('mmseg::pspnet/...py'), or the path of a config file. `changes` are
            merged into its `model` in the same way as a child config is.
        num_classes: replaces `num_classes` of every head, if given. Auxiliary heads that classify boundaries
            (`STDCHead`) keep theirs.
        data_preprocessor, test_cfg: replace those of the model, if given.
        ignore_index: the label of void pixels. It replaces that of every head, and `seg_pad_val` of the preprocessor,
            if given.

    The backbone gets as many input channels as the preprocessor has means. With `num_classes`, losses of the heads lose
    a `class_weight` of another length, with a warning: it was made for other data.

    Raises:
        FileNotFoundError: if `cfg_path` does not exist.
        ImportError: if `cfg_path` needs a package that is not installed.
        ValueError: if preprocessor and backbone are for different numbers of channels.
    """
    changes = copy.deepcopy(ConfigDict(segmentor))
    path = changes.pop('cfg_path', None)
    model = changes
    if path is not None:
        cfg = Config(dict(model=_read_model(path)))
        cfg.merge_from_dict(dict(model=changes))
        model = cfg.model
    for _, head in _heads(model):
        if num_classes is not None and _type_name(head) not in BINARY_HEADS:
            head.num_classes = num_classes
        if num_classes is not None:
            _drop_other_class_weights(head)
        if ignore_index is not None and 'Update' not in _type_name(head):  # K-Net's updates take no loss of their own
            head.ignore_index = ignore_index
    if data_preprocessor is not None:
        model.data_preprocessor = copy.deepcopy(data_preprocessor)
    if ignore_index is not None and 'data_preprocessor' in model:
        model.data_preprocessor.seg_pad_val = ignore_index
    _set_input_channels(model)
    if test_cfg is not None:
        model.test_cfg = copy.deepcopy(test_cfg)
    return model


def resolve_teacher(
    teacher: dict,
    num_classes: int | None = None,
    data_preprocessor: dict | None = None,
    ignore_index: int | None = None,
    trained_with: dict | None = None,
) -> ConfigDict:
    """Returns the plain model config of a teacher, whose normalization is that of its training.

    Args:
        teacher, num_classes, ignore_index: as in `resolve_segmentor`.
        data_preprocessor: that of the student. The teacher gets it, unless its own normalization is known: from
            `data_preprocessor` in `teacher`, or else from `trained_with`.
        trained_with: what is known of the training, `dict(mean=..., std=..., bgr_to_rgb=...)`.
    """
    model = resolve_segmentor(teacher, num_classes, None, None, ignore_index)
    if 'data_preprocessor' not in teacher and data_preprocessor is not None:
        model.data_preprocessor = ConfigDict({**data_preprocessor, **(trained_with or {})})
        model = resolve_segmentor(model, None, None, None, ignore_index)
    return model


def trained_normalization(teacher: dict, checkpoint: dict, source: str) -> tuple[dict, str] | None:
    """Returns the normalization that a teacher was trained with: that of the config in its checkpoint or beside it, or
    else, as for published checkpoints, that of the config that `cfg_path` names.

    Args:
        teacher: `dict(cfg_path=..., **changes)` or a model config.
        checkpoint, source: its loaded checkpoint, and the path or URL of it.

    Returns:
        As `stored_normalization`.
    """
    stored = stored_normalization(checkpoint, source)
    if stored or 'cfg_path' not in teacher:
        return stored
    preprocessor = _read_model(teacher['cfg_path']).get('data_preprocessor') or {}
    if not preprocessor.get('mean'):
        return None
    where = f'{teacher["cfg_path"]}, since {source} holds no config'
    return {key: preprocessor.get(key, False) for key in NORMALIZATION}, where


def check_number_of_classes(count: int) -> None:
    """Refuses more classes than a byte can hold beside void. Everything that has a number of classes calls this.

    Raises:
        ValueError: if there are more than 255.
    """
    if count > MAX_CLASSES:
        raise ValueError(
            f'{count} classes, but at most {MAX_CLASSES} are supported: labels and predictions are stored in bytes. '
            'Join classes, with label_map of LoadCheckedAnnotations'
        )


def check_distillable(model: dict, role: str) -> None:
    """Checks that a model config is that of a network that `SegDistill` can use.

    Args:
        role: 'teacher' or 'student', for the message.

    Raises:
        ValueError: if it is not.
    """
    kind = _type_name(model)
    if kind in NOT_DISTILLABLE:
        raise ValueError(
            f'the {role} is a {kind}, which cannot be distilled, since it {NOT_DISTILLABLE[kind]}: use an '
            'EncoderDecoder or a CascadeEncoderDecoder'
        )


def build_segmentor(model: dict) -> BaseModel:
    """Builds a model config in MMSegmentation's scope, whatever the default scope is.

    Raises:
        ImportError: if a head needs MMDetection, which is not installed.
        ValueError: if a head has more than 255 classes.
    """
    for _, count in head_classes(ConfigDict(model)):
        check_number_of_classes(count)
    names = [kind.__name__ for kind in MASK_CLASSIFIERS]
    needs_mmdet = any(_type_name(head) in names for _, head in _heads(ConfigDict(model)))
    if needs_mmdet and Mask2FormerHead.__base__ is BaseModule:  # MMSegmentation's substitute for MMDetection's head
        raise ImportError(
            'MaskFormerHead and Mask2FormerHead need MMDetection, but it is not installed or does not load: '
            'pip install mmdet==3.3.0'
        )
    with DefaultScope.overwrite_default_scope('mmseg'):
        return SEGMENTORS.build(model)


def forward_heads(model: BaseModel, inputs: Tensor, auxiliary: bool = True) -> list[Tensor | tuple]:
    """Runs a segmentor up to the logits of its heads, with one pass through its backbone.

    MMSegmentation's `mode='tensor'` leaves the auxiliary heads out, and fails for PointRend and for mask classifiers.

    Args:
        model: an `EncoderDecoder`, a `CascadeEncoderDecoder`, or a model with the same `extract_feat` and heads.
        inputs: preprocessed images, (N, channels, H, W).
        auxiliary: whether to run the auxiliary heads, if there are any.

    Returns:
        The logits before upsampling, (N, C, h, w): of the decode head, then of each auxiliary head. A cascade has those
        of its last head that classifies every pixel, so not of a `PointHead`. A mask classifier has its class scores
        and its masks, of all layers of its decoder.
    """
    features = model.extract_feat(inputs)
    auxiliary_heads = list_heads(getattr(model, 'auxiliary_head', None)) if auxiliary else []
    return [_forward_decode_head(model, features, inputs), *(head(features) for head in auxiliary_heads)]


def _forward_decode_head(model: BaseModel, features: Sequence[Tensor], inputs: Tensor) -> Tensor | tuple:
    # As MMSegmentation does, this calls `forward`, which recorders may have replaced, and not the head itself.
    if isinstance(model.decode_head, MASK_CLASSIFIERS):
        shape = tuple(inputs.shape[2:])
        samples = [SegDataSample(metainfo=dict(img_shape=shape, batch_input_shape=shape)) for _ in inputs]
        return model.decode_head.forward(features, samples)
    first, *later = (head for head in list_heads(model.decode_head) if not isinstance(head, PointHead))
    logits = first.forward(features)
    for head in later:
        logits = head.forward(features, logits)
    return logits


def input_channels(model: BaseModel) -> int:
    """Returns how many channels the images of a built segmentor have: the width of its first convolution's input."""
    return next((m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d)), 3)


def list_heads(head: nn.Module | None) -> list[nn.Module]:
    """Returns the heads in an attribute of a built segmentor, which is a head, a list of heads or None."""
    if head is None:
        return []
    return list(head) if isinstance(head, nn.ModuleList) else [head]


@MODELS.register_module()
def plain_segmentor(
    num_classes: int | None = None,
    data_preprocessor: dict | None = None,
    test_cfg: dict | None = None,
    ignore_index: int | None = None,
    **segmentor,
) -> BaseModel:
    """Builds a teacher or a student as a stand-alone model. The arguments are those of `resolve_segmentor`."""
    return build_segmentor(resolve_segmentor(segmentor, num_classes, data_preprocessor, test_cfg, ignore_index))


def _read_model(path: str) -> ConfigDict:
    cfg = load_config_file(path, place=f'cfg_path={path!r}: ')
    if 'data_preprocessor' in cfg:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    return cfg.model


def head_classes(model: ConfigDict) -> Iterator[tuple[str, int]]:
    """Yields the name of each head of a resolved model config that states its number of classes, and that number."""
    for name, head in _heads(model):
        if 'num_classes' in head and _type_name(head) not in BINARY_HEADS:
            yield name, head.num_classes


def _heads(model: ConfigDict) -> Iterator[tuple[str, ConfigDict]]:
    """Yields the name and the config of each head that has a number of classes."""
    for name in ('decode_head', 'auxiliary_head'):
        for head in _as_list(model.get(name) or []):
            if 'kernel_generate_head' in head:  # K-Net's head consists of other heads
                yield from ((name, part) for part in (head.kernel_generate_head, *head.kernel_update_head))
            else:
                yield name, head


def _set_input_channels(model: ConfigDict) -> None:
    preprocessor, backbone = model.get('data_preprocessor') or {}, model.get('backbone')
    mean = preprocessor.get('mean')
    if not mean or backbone is None:
        return
    channels = len(mean)
    for swap in ('bgr_to_rgb', 'rgb_to_bgr'):
        if channels != 3 and preprocessor.get(swap):
            raise ValueError(
                f'data_preprocessor has {swap}=True and {channels} means, but it swaps the channels of color images '
                f'and drops all others: set {swap}=False'
            )
    stated = backbone.get('in_channels')
    if stated not in (None, 3, channels):  # configs of MMSegmentation state 3
        raise ValueError(
            f'the backbone has in_channels={stated}, but mean of the data_preprocessor has {channels} values, one for '
            'each channel of an image: correct one of them, or leave in_channels out'
        )
    if channels != 3:
        _give_input_channels(backbone, channels)


def _give_input_channels(backbone: ConfigDict, channels: int) -> None:
    """Sets the argument `in_channels` of a backbone, and of the one inside it, which reads the image too."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        kind = SEGMENTORS.get(backbone.type) if isinstance(backbone.type, str) else backbone.type
    takes = any('in_channels' in signature(base).parameters for base in kind.__mro__[:-1])  # ResNetV1c has **kwargs
    inner = backbone.get('backbone_cfg')
    if takes:
        backbone.in_channels = channels
    if inner:
        _give_input_channels(inner, channels)
    if not (takes or inner):
        raise ValueError(
            f'{kind.__name__} takes images of 3 channels only, since it has no argument in_channels, but the '
            f'data_preprocessor has {channels} means: use another backbone'
        )


def _drop_other_class_weights(head: ConfigDict) -> None:
    """Drops each `class_weight` of the losses of a head that does not have one value per class."""
    num_classes, classifier = head.get('num_classes'), head.get('loss_cls')
    if num_classes is None:
        return
    for loss in (loss for key, value in head.items() if key.startswith('loss') for loss in _as_list(value)):
        weight = loss.get('class_weight')
        allowed = (num_classes, head.get('out_channels'), 1 if loss.get('use_sigmoid') else num_classes)
        if isinstance(weight, (list, tuple)) and len(weight) not in allowed and loss is not classifier:
            del loss['class_weight']
            print_log(
                f'class_weight of {_type_name(loss)} in {_type_name(head)} has {len(weight)} values, but there are '
                f'{num_classes} classes: it is dropped. To use weights, set class_weight in the loss of the head',
                'current',
                WARNING,
            )
    if classifier is not None and len(classifier.class_weight) != num_classes + 1:
        # Mask classifiers need these weights: 1 for each class, and that of "no object".
        classifier.class_weight = [1.0] * num_classes + [classifier.class_weight[-1]]


def _as_list(value: Any) -> list:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _type_name(cfg: dict) -> str:
    """Returns the name of the class that a config builds, without its scope."""
    kind = cfg.get('type')
    return getattr(kind, '__name__', str(kind)).rpartition('.')[2]
