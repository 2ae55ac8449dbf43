"""Faults of MMSegmentation."""

import functools
from collections.abc import Callable
from types import ModuleType

from .table import Fix


def class_weights_fail_on_void(cross_entropy_loss: ModuleType) -> bool:
    import torch

    logits, label = torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1), 255)
    try:
        cross_entropy_loss.cross_entropy(
            logits, label, class_weight=torch.ones(1), ignore_index=255, avg_non_ignore=True
        )
    except IndexError:
        return True
    return False


def give_void_no_weight(cross_entropy_loss: ModuleType) -> None:
    cross_entropy_loss.cross_entropy = _with_weightless_void(cross_entropy_loss.cross_entropy)


def _with_weightless_void(original: Callable) -> Callable:
    @functools.wraps(original)
    def cross_entropy(
        pred,
        label,
        weight=None,
        class_weight=None,
        reduction='mean',
        avg_factor=None,
        ignore_index=-100,
        avg_non_ignore=False,
    ):
        if class_weight is not None and reduction == 'mean' and avg_factor is None:
            num_classes = len(class_weight)
            # Within this range the original finds a weight, and counts it unless `avg_non_ignore`.
            if avg_non_ignore or not -num_classes <= ignore_index < num_classes:
                void = label == ignore_index
                avg_factor = class_weight[label.masked_fill(void, 0)].masked_fill(void, 0).sum()
        return original(pred, label, weight, class_weight, reduction, avg_factor, ignore_index, avg_non_ignore)

    return cross_entropy


def binary_loss_fails_on_void_only(cross_entropy_loss: ModuleType) -> bool:
    import torch

    try:
        cross_entropy_loss.binary_cross_entropy(torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1), 255), ignore_index=255)
    except RuntimeError:
        return True
    return False


def give_void_only_the_loss_zero(cross_entropy_loss: ModuleType) -> None:
    cross_entropy_loss.binary_cross_entropy = _with_zero_for_void_only(cross_entropy_loss.binary_cross_entropy)


def _with_zero_for_void_only(original: Callable) -> Callable:
    @functools.wraps(original)
    def binary_cross_entropy(
        pred,
        label,
        weight=None,
        reduction='mean',
        avg_factor=None,
        class_weight=None,
        ignore_index=-100,
        avg_non_ignore=False,
        **kwargs,
    ):
        if pred.size(1) == 1 and not (label != ignore_index).any():
            zeros = 0 * pred.squeeze(1)
            return zeros if reduction == 'none' else zeros.sum()
        return original(
            pred, label, weight, reduction, avg_factor, class_weight, ignore_index, avg_non_ignore, **kwargs
        )

    return binary_cross_entropy


def accuracy_of_one_channel_is_wrong(accuracy: ModuleType) -> bool:
    import torch

    return accuracy.accuracy(torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, dtype=torch.long)) < 50


def compare_one_channel_with_zero(accuracy: ModuleType) -> None:
    import torch

    original = accuracy.accuracy

    @functools.wraps(original)
    def accuracy_of_any_channels(pred, *args, **kwargs):
        return original(torch.cat([-pred, pred], 1) if pred.size(1) == 1 else pred, *args, **kwargs)

    accuracy.accuracy = accuracy_of_any_channels


def conversion_is_private(data_preprocessor: ModuleType) -> bool:
    return not hasattr(data_preprocessor.SegDataPreProcessor(), 'channel_conversion')


def name_channel_conversion(data_preprocessor: ModuleType) -> None:
    data_preprocessor.SegDataPreProcessor.channel_conversion = property(lambda self: self._channel_conversion)


def layer_decay_needs_a_segmentor(constructor: ModuleType) -> bool:
    return constructor.LearningRateDecayOptimizerConstructor.add_params.__module__ != __name__


def decay_the_student(constructor: ModuleType) -> None:
    owner = constructor.LearningRateDecayOptimizerConstructor
    owner.add_params = _with_decay_of_the_student(owner.add_params)


def _with_decay_of_the_student(original: Callable) -> Callable:
    def add_params(self, params, module, **kwargs):
        network = getattr(module, 'architecture', module)
        missing = [key for key in ('decay_rate', 'num_layers') if key not in self.paramwise_cfg]
        if missing:
            raise ValueError(f'paramwise_cfg has no {" and no ".join(missing)}, which layer-wise learning rates need')
        try:
            original(self, params, network, **kwargs)
        except NotImplementedError as error:
            raise ValueError(
                f'decay_type={self.paramwise_cfg.get("decay_type", "layer_wise")!r} of layer-wise learning rates is '
                f'not known for the backbone {type(network.backbone).__name__}: both exist for ConvNeXt, layer_wise '
                'for BEiT and MAE. For other backbones, set lr_mult in paramwise_cfg.custom_keys'
            ) from error
        for group in params:
            group.pop('param_names')  # for the log; torch wants it in all groups or none
        decayed = {parameter for group in params for parameter in group['params']}
        others = [value for value in module.parameters() if value.requires_grad and value not in decayed]
        if others:
            params.append(dict(params=others))

    return add_params


FIXES = (
    Fix(
        'class weights and void',
        'mmseg.models.losses.cross_entropy_loss',
        'to average the loss, cross_entropy looks up the class weight of the void label, which is out of range: an '
        'IndexError on a CPU, a device-side assertion on a GPU',
        'mmsegmentation 1.2.2; onedl-mmsegmentation 1.4.2 with avg_non_ignore',
        'class_weight works with void pixels',
        class_weights_fail_on_void,
        give_void_no_weight,
    ),
    Fix(
        'one channel, void only',
        'mmseg.models.losses.cross_entropy_loss',
        'binary_cross_entropy takes the maximum of the labels that are not void, which fails if there are none',
        'mmsegmentation 1.2.2; onedl-mmsegmentation 1.4.2',
        'a batch of void pixels has the loss 0',
        binary_loss_fails_on_void_only,
        give_void_only_the_loss_zero,
    ),
    Fix(
        'accuracy of one channel',
        'mmseg.models.losses.accuracy',
        'acc_seg takes the largest of the channels, so that a head with one channel logs the share of class 0. With '
        'the fix, the probability is compared with 0.5, whatever the threshold of the head',
        'mmsegmentation 1.2.2; onedl-mmsegmentation 1.4.2',
        'acc_seg is right for out_channels=1',
        accuracy_of_one_channel_is_wrong,
        compare_one_channel_with_zero,
    ),
    Fix(
        'channel conversion',
        'mmseg.models.data_preprocessor',
        'SegDataPreProcessor.channel_conversion is named _channel_conversion',
        'onedl-mmsegmentation 1.4.2',
        'the attribute is public again',
        conversion_is_private,
        name_channel_conversion,
    ),
    Fix(
        'layer-wise rates of a student',
        'mmseg.engine.optimizers.layer_decay_optimizer_constructor',
        'LearningRateDecayOptimizerConstructor looks for the backbone in the model, but an algorithm of MMRazor has it '
        'in its architecture. The errors about other backbones have no text',
        'mmsegmentation 1.2.2; onedl-mmsegmentation 1.4.2',
        'MMSegmentation decays the rates of the architecture of an algorithm',
        layer_decay_needs_a_segmentor,
        decay_the_student,
    ),
)
