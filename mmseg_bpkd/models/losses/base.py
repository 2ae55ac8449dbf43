"""The contract of a distillation loss: what `SegDistiller` and the rest of the package ask it for."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn


class DistillLoss(nn.Module):
    """Base class of the losses that a `SegDistiller` computes.

    A subclass must define `forward`. The other members are optional. Attributes with other names are its own business.

    =================  ===============================================================================================
    `forward`          Takes the records that its arguments name (`preds_S`, `feats_T`, `gt`, ...; see `SegDistiller`)
                       and returns the weighted loss, a scalar.
    `terms`            A method with the arguments of `forward`. It returns {name: scalar}; each term is logged under
                       its own name, and `forward` returns their sum. None (the default): the loss has one term.
    `align`            True, or options of mmcv's `ConvModule`, such as dict(bias=False): a trained 1x1 convolution
                       maps each of the student's records to the teacher's width first.
    `any_width`        True: student and teacher may have different widths; the loss compares them itself.
    `one_channel`      True: the logits of a head with one channel (sigmoid) arrive as they are. Otherwise, they arrive
                       as those of two classes, see `two_class_logits`.
    `build_layers`     Adds trained layers, before the optimizer and DDP see the model. An override takes what it needs
                       of `num_classes` (2 for a head with one channel), `feats_S`, `feats_T`, `aux_feats_S`,
                       `aux_feats_T`, `stage_S` and `stage_T` (channels) and `backbone_S` and `backbone_T` (the channels
                       of every stage).
    `optim_options`    {name of a layer: options of the optimizer}: MMEngine's `lr_mult` and `decay_mult`, or `lr` for a
                       learning rate that is not a multiple of the student's. `lr` together with `optimizer`, such as
                       dict(type='Adam'), gives the layer an optimizer of its own.
    `max_grad_norm`    The gradient of the trained layers is clipped to this norm before each step.
    =================  ===============================================================================================

    Any `nn.Module`, such as MMRazor's losses, also works as a loss. It gets the defaults of this class.
    """

    forward: Callable[..., Tensor]
    terms: Callable[..., dict[str, Tensor]] | None = None
    align: bool | dict[str, Any] = False
    any_width: bool = False
    one_channel: bool = False
    build_layers: Callable[..., None] = lambda self: None
    optim_options: Mapping[str, dict] = MappingProxyType({})
    max_grad_norm: float | None = None


MEMBERS = tuple(DistillLoss.__annotations__)
_DEFAULTS = DistillLoss()


def contract_of(loss: nn.Module) -> DistillLoss:
    """Returns `loss` if it is a `DistillLoss`, else a `DistillLoss` with the default values.

    Raises:
        TypeError: if `loss` is not a `DistillLoss` but has one of its members, which would be ignored.
    """
    if isinstance(loss, DistillLoss):
        return loss
    declared = [name for name in MEMBERS if name != 'forward' and hasattr(loss, name)]
    if declared:
        raise TypeError(
            f'{type(loss).__name__} has {declared[0]!r}, which only losses derived from '
            'mmseg_bpkd.models.losses.DistillLoss can have: derive it from that class'
        )
    return _DEFAULTS


def aligner_options(loss: nn.Module) -> dict[str, Any] | None:
    """Returns the options of the layers that `align` asks for; None if it asks for none.

    Raises:
        TypeError: if `align` is neither a bool nor a dict.
    """
    align = contract_of(loss).align
    if isinstance(align, bool):
        return {} if align else None
    if not isinstance(align, Mapping):
        raise TypeError(
            f'{type(loss).__name__} has align={align!r}, expected True, False, or the options of the layer, such as '
            'dict(bias=False)'
        )
    return dict(align)


def check_spelling(loss: DistillLoss) -> None:
    """Refuses a name that looks like a misspelt member, on the class or set in `__init__`.

    Raises:
        TypeError: for such a name. Start the name with an underscore if it is meant.
    """
    own = {name for base in type(loss).__mro__ if base not in DistillLoss.__mro__ for name in vars(base)}
    for name in sorted(own.union(vars(loss))):
        if name.startswith('_') or hasattr(DistillLoss, name.rstrip('_')):
            continue
        swapped = [member for member in MEMBERS if sorted(member) == sorted(name)]
        intended = next(iter(swapped + get_close_matches(name, MEMBERS, n=1, cutoff=0.85)), None)
        if intended:
            raise TypeError(
                f'{type(loss).__name__}.{name}: DistillLoss has no member {name!r}; did you mean {intended!r}? '
                'Otherwise, start the name with an underscore'
            )
