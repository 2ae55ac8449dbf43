"""The interface of distillation losses: the methods and attributes that the package uses."""

from difflib import get_close_matches
from functools import wraps
from inspect import isfunction, signature
from types import MappingProxyType
from typing import Any, Callable, Dict, Mapping, Optional, Union

from torch import Tensor, nn

from .functional import two_class_logits

RENAMED = {'make_parts': 'build_layers'}


class DistillLoss(nn.Module):
    """Base class of the losses that a `SegDistiller` computes.

    A subclass must define `forward`. The other members are optional:

    =================  ===============================================================================================
    `forward`          Takes the records that its arguments name (`preds_S`, `feats_T`, `gt`, ...; see `SegDistiller`)
                       and returns the weighted loss, a scalar.
    `terms`            A method with the arguments of `forward`. It returns {name: scalar}; each term is logged under
                       its own name, and `forward` returns their sum. None (the default): the loss has one term.
    `align`            True: a trained 1x1 convolution maps each of the student's records to the teacher's width first.
                       'no bias': the same without a bias.
    `any_width`        True: student and teacher may have different widths; the loss compares them itself.
    `one_channel`      True: the logits of a head with one channel arrive as they are, with one channel.
    `build_layers`     Adds trained layers. Its arguments name the widths that it needs.
    `optim_options`    {name of a layer: options of the optimiser}, set in `__init__`: MMEngine's `lr_mult` and
                       `decay_mult`, or `lr` for a learning rate that is not a multiple of the student's. `lr` together
                       with `optimizer`, such as dict(type='Adam'), gives the layer an optimiser of its own.
    `max_grad_norm`    The gradient of the trained layers is clipped to this norm before each step.
    =================  ===============================================================================================

    The logits of a head with one channel (sigmoid) reach `forward` and `terms` as those of two classes, see
    `two_class_logits`, so that a loss over classes needs no code for such heads.

    A subclass may define other methods, and class attributes that start with an underscore. Any `nn.Module`, such as
    MMRazor's losses, also works as a loss. It gets the defaults of this class.

    Raises:
        TypeError: when a subclass is defined that has a public class attribute which is not listed above, or a method
            whose name looks like a misspelt member. `SegDistiller` raises it for such an attribute that `__init__`
            sets.
    """

    align: Union[bool, str] = False
    any_width: bool = False
    one_channel: bool = False
    optim_options: Mapping[str, dict] = MappingProxyType({})
    max_grad_norm: Optional[float] = None
    terms: Optional[Callable[..., Dict[str, Tensor]]] = None

    def build_layers(self) -> None:
        """Adds trained layers, before the optimiser and DDP see the model.

        An override takes what it needs of `num_classes` (2 for a head with one channel), `feats_S`, `feats_T`,
        `aux_feats_S`, `aux_feats_T`, `stage_S` and `stage_T` (channels) and `backbone_S` and `backbone_T` (the channels
        of every stage).
        """

    def forward(self, *args: Tensor, **kwargs: Tensor) -> Tensor:
        raise NotImplementedError(f'{type(self).__name__} must define forward, whose arguments name its records')

    def __init_subclass__(cls, **kwargs) -> None:
        super().__init_subclass__(**kwargs)
        for name, value in vars(cls).items():
            if name.startswith('_') or hasattr(DistillLoss, name):
                continue
            intended = _intended(name, cutoff=0.8)
            if intended or not _is_method(value):
                hint = f'did you mean {intended!r}?' if intended else f'the members are {", ".join(CONTRACT)}.'
                raise TypeError(
                    f'{cls.__name__}.{name}: DistillLoss has no member {name!r}; {hint} '
                    'Start the name of an attribute of your own with an underscore, or set it in __init__'
                )
        for name in ('forward', 'terms'):
            if isfunction(vars(cls).get(name)):
                setattr(cls, name, _on_two_classes(vars(cls)[name]))


LOGITS = (('preds_S', 'preds_T'), ('aux_preds_S', 'aux_preds_T'))
CONTRACT = ('forward', 'terms', 'align', 'any_width', 'one_channel', 'build_layers', 'optim_options', 'max_grad_norm')
_DEFAULTS = DistillLoss()


def contract_of(loss: nn.Module) -> DistillLoss:
    """Returns `loss` if it is a `DistillLoss`, else a `DistillLoss` with the default values.

    Raises:
        TypeError: if `loss` is not a `DistillLoss` but has one of its members, which would be ignored.
    """
    if isinstance(loss, DistillLoss):
        return loss
    declared = [name for name in (*CONTRACT[1:], *RENAMED) if hasattr(loss, name)]
    if declared:
        raise TypeError(
            f'{type(loss).__name__} has {declared[0]!r}, which only losses derived from '
            'mmseg_bpkd.models.losses.DistillLoss can have: derive it from that class'
        )
    return _DEFAULTS


def with_two_classes(contract: DistillLoss, arguments: Dict[str, Any]) -> Dict[str, Any]:
    """Replaces one-channel logits of a head by logits of two classes, unless the loss takes one channel."""
    if contract.one_channel:
        return arguments
    arguments = dict(arguments)
    for pair in LOGITS:
        names = [name for name in pair if isinstance(arguments.get(name), Tensor)]
        arguments.update(zip(names, two_class_logits(*(arguments[name] for name in names))))
    return arguments


def _on_two_classes(method: Callable) -> Callable:
    """Wraps `forward` or `terms`, so that a loss sees the same logits in a `SegDistiller` and without one."""
    parameters = signature(method)

    @wraps(method)
    def run(self: DistillLoss, *args, **kwargs):
        given = parameters.bind(self, *args, **kwargs)
        given.arguments.update(with_two_classes(self, given.arguments))
        return method(*given.args, **given.kwargs)

    return method if set(parameters.parameters).isdisjoint(sum(LOGITS, ())) else run


def check_attributes(loss: DistillLoss) -> None:
    """Checks what the constructor of a loss has set.

    Layers and tensors may have any name. So may values, unless the name looks like a misspelt member.

    Raises:
        TypeError: for a misspelt member.
    """
    for name in vars(loss):
        intended = None if name.startswith('_') or hasattr(type(loss), name) else _intended(name, cutoff=0.85)
        if intended:
            raise TypeError(
                f'{type(loss).__name__} sets self.{name}, which DistillLoss does not have; did you mean {intended!r}? '
                'Otherwise, start the name with an underscore'
            )


def _intended(name: str, cutoff: float) -> Optional[str]:
    """The member that a misspelt or former name stands for, or None."""
    swapped = [member for member in CONTRACT if sorted(member) == sorted(name)]
    former = [RENAMED[member] for member in get_close_matches(name, RENAMED, n=1, cutoff=0.92)]
    return next(iter([*former, *swapped, *get_close_matches(name, CONTRACT, n=1, cutoff=cutoff)]), None)


def _is_method(value: object) -> bool:
    return callable(value) or isinstance(value, (staticmethod, classmethod, property))
