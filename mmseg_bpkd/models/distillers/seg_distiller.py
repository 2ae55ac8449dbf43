"""Connects distillation losses to a teacher and a student."""

from collections.abc import Iterator
from inspect import Parameter, signature
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope
from mmrazor.models.architectures.connectors import ConvModuleConnector
from mmrazor.models.distillers import ConfigurableDistiller
from mmrazor.models.task_modules.recorder import RecorderManager
from mmrazor.models.task_modules.recorder.base_recorder import BaseRecorder
from mmseg.models.utils import resize
from torch import Tensor, nn

from ..losses.base import DistillLoss, aligner_options, check_spelling, contract_of
from ..losses.functional import two_class_logits, upcast
from ..segmentors import input_channels, list_heads
from .records import StagesRecorder, classifying_head, feature_recorder, feature_width, logits_recorder, stages

SIDES = {'S': 'student', 'T': 'teacher'}
AUXILIARY = ('aux_preds', 'aux_feats')
LOGITS = (('preds_S', 'preds_T'), ('aux_preds_S', 'aux_preds_T'))
RECORDS = ('preds', 'feats', 'backbone', 'stage', *AUXILIARY)
DATA_IDX = dict(feats=0, aux_feats=0, stage=-1)  # MMRazor's data_idx: position in the recorded tuple


@MODELS.register_module()
class SegDistiller(ConfigurableDistiller):
    """Computes the distillation losses. The arguments of a loss's `forward` name the tensors (records) that it gets:

    ===================== ==========================================================================================
    `preds_S`, `preds_T`  logits before upsampling, (N, C, h, w): output of the decode head's `conv_seg`; in a cascade
                          of heads, of the last head. Those of a head with one channel (sigmoid) become
                          (N, 2, h, w), see `two_class_logits`
    `feats_S`, `feats_T`  the head's feature before dropout and classifier, (N, D, h, w)
    `aux_preds_S`, ...    logits and feature of the auxiliary head: `aux_preds_S`, `aux_preds_T`, `aux_feats_S`,
                          `aux_feats_T`; of several auxiliary heads, of the first
    `backbone_S`, `..._T` all stages of the backbone, a tuple
    `stage_S`, `stage_T`  the last stage of the backbone
    `gt`                  the label, (N, H, W)
    ===================== ==========================================================================================

    docs/support.md says what the records of heads without `conv_seg` are, such as those of K-Net and PointRend. The
    student's tensors are resized to the teacher's size (bilinear). See `DistillLoss` for the other options of a
    loss.

    Args:
        losses: {name: config}. A name must contain "loss"; otherwise MMEngine would log the loss and not train on it.
        student_recorders, teacher_recorders, connectors: as in MMRazor, for records that the names above do not cover.
        loss_forward_mappings: {loss: {argument: dict(recorder=..., from_student=..., ...)}} as in MMRazor. It takes
            precedence over the names. `recorder` may be one of the records above, such as 'aux_preds'.

    Raises:
        ValueError: for a loss with a wrong name, an argument without a record, an `ignore_index` that is not that of
            the student's head, a network without the auxiliary head that a loss reads, or tensors that cannot be
            compared.
        RuntimeError: for a tensor that the forward pass did not record.
        TypeError: for a loss without `forward`, or with an `align` that is neither a bool nor a dict.
    """

    def __init__(
        self,
        losses: dict[str, dict],
        student_recorders: dict[str, dict] | None = None,
        teacher_recorders: dict[str, dict] | None = None,
        connectors: dict[str, dict] | None = None,
        loss_forward_mappings: dict[str, dict] | None = None,
    ) -> None:
        for name in losses:
            if 'loss' not in name:
                raise ValueError(
                    f'losses has a key {name!r}, but a name must contain "loss": MMEngine logs other values, but '
                    'does not train on them'
                )
        with DefaultScope.overwrite_default_scope('mmrazor'):  # MMRazor's recorders are registered in this scope
            super().__init__(
                student_recorders, teacher_recorders, connectors=connectors, distill_losses=_ours_first(losses)
            )
        for name, loss in self.distill_losses.items():
            if isinstance(loss, DistillLoss):
                check_spelling(loss)
            if getattr(loss.forward, '__func__', None) is nn.Module.forward:
                raise TypeError(
                    f'{name}: {type(loss).__name__} has no forward: define it; its arguments name the records, such as '
                    'preds_S and preds_T'
                )
        self.states_ignore_index = {name for name, loss in losses.items() if 'ignore_index' in loss}
        explicit = loss_forward_mappings or {}
        unknown = set(explicit) - set(losses)
        if unknown:
            raise ValueError(f'loss_forward_mappings has {sorted(unknown)}, but the losses are {sorted(losses)}')
        self.own_recorders = {*(student_recorders or {}), *(teacher_recorders or {})}
        self.takes_gt: list[str] = []
        self.upcasts_teacher = False  # set by `SegDistill`, for a teacher of its own precision
        self.loss_forward_mappings = {
            name: dict(self._mappings(name, loss, explicit.get(name, {}))) for name, loss in self.distill_losses.items()
        }

    def _mappings(self, loss_name: str, loss: nn.Module, explicit: dict) -> Iterator[tuple[str, dict]]:
        arguments = signature(loss.forward).parameters
        unknown = set(explicit) - set(arguments)
        if unknown:
            raise ValueError(
                f'loss_forward_mappings of {loss_name} has {sorted(unknown)}, but the forward of '
                f'{type(loss).__name__} takes {list(arguments)}'
            )
        for argument, parameter in arguments.items():
            record, _, side = argument.rpartition('_')
            if argument in explicit:
                yield argument, {**self._defaults(explicit[argument].get('recorder')), **explicit[argument]}
            elif argument == 'gt':
                self.takes_gt.append(loss_name)
            elif record in RECORDS and side in SIDES:
                yield argument, dict(recorder=record, from_student=side == 'S', **self._defaults(record))
            elif parameter.default is Parameter.empty:
                raise ValueError(
                    f'{loss_name}: the forward of {type(loss).__name__} has an argument {argument!r}, which names no '
                    f'record; the records are gt, and {", ".join(RECORDS)} with _S or _T; other arguments need '
                    'loss_forward_mappings'
                )

    def _defaults(self, record: str | None) -> dict[str, int]:
        """Which call of a layer, and which element of what it returned, is the record."""
        if record not in RECORDS or record in self.own_recorders:
            return {}
        element = dict(data_idx=DATA_IDX[record]) if record in DATA_IDX else {}
        return dict(record_idx=-1, **element)  # DAHead calls its dropout for three features; the last is classified

    def reads_auxiliary_head_of_teacher(self) -> bool:
        """Whether a loss or a recorder needs the teacher's auxiliary head. The teacher may still be unknown."""
        records = {
            mapping.get('recorder')
            for mappings in self.loss_forward_mappings.values()
            for mapping in mappings.values()
            if not mapping.get('from_student')
        }
        sources = [recorder.source for recorder in self.teacher_recorders.recorders.values()]
        return not records.isdisjoint(AUXILIARY) or any(source.startswith('auxiliary_head') for source in sources)

    def prepare_from_student(self, model: BaseModel) -> None:
        self.align_corners = model.align_corners
        self._add_recorders(self.student_recorders, model, from_student=True)
        self.student_widths = self._widths(model, from_student=True)
        self._share_ignore_index(model)
        super().prepare_from_student(model)

    def prepare_from_teacher(self, model: BaseModel) -> None:
        self._add_recorders(self.teacher_recorders, model, from_student=False)
        teacher_widths = self._widths(model, from_student=False)
        for name, loss in self.distill_losses.items():
            widths = {**self.student_widths[name], **teacher_widths[name]}
            contract = contract_of(loss)
            if aligner_options(loss) is not None:
                self._add_aligners(name, widths)
            contract.build_layers(**{key: widths[key] for key in signature(contract.build_layers).parameters})
        self._check_loss_forward_mappings(
            self.distill_losses, self.loss_forward_mappings, self.student_recorders, self.teacher_recorders
        )
        super().prepare_from_teacher(model)

    def _share_ignore_index(self, model: BaseModel) -> None:
        """Gives the losses the label of void pixels of the student's head."""
        name, head = classifying_head(model.decode_head, 'decode_head')
        void = getattr(head, 'ignore_index', None)
        for loss_name, loss in self.distill_losses.items():
            if void is None or not hasattr(loss, 'ignore_index'):
                continue
            if loss_name in self.states_ignore_index and loss.ignore_index != void:
                raise ValueError(
                    f'{loss_name} has ignore_index={loss.ignore_index}, but the {name} of the student has {void}: '
                    'leave it out of the loss, and set model.ignore_index, or that of `task`, to the label of void '
                    'pixels'
                )
            loss.ignore_index = void

    def _add_aligners(self, loss_name: str, widths: dict[str, int | list[int]]) -> None:
        loss = self.distill_losses[loss_name]
        options, known = aligner_options(loss) or {}, list(signature(ConvModuleConnector).parameters)[2:]
        unknown = sorted(options.keys() - {*known})
        if unknown:
            raise ValueError(
                f'{loss_name}: align of {type(loss).__name__} has {unknown}; the options of the layer are '
                f'{", ".join(known)}'
            )
        for argument in widths:
            if argument.endswith('_S'):
                if not isinstance(widths[argument], int):
                    raise ValueError(
                        f'{loss_name} has align, which needs one stage of the backbone, but {argument} is all '
                        'stages: choose one with data_idx in its loss_forward_mappings'
                    )
                connector = f'{loss_name}_{argument}'
                self.connectors[connector] = ConvModuleConnector(
                    widths[argument], widths[f'{argument[:-1]}T'], **{'bias': True, 'act_cfg': None, **options}
                )
                self.loss_forward_mappings[loss_name][argument]['connector'] = connector

    def compute_distill_losses(self, gt: Tensor) -> dict[str, Tensor]:
        """Computes all losses from the records of the last forward passes, and then drops the records.

        Args:
            gt: label, (N, H, W).

        Returns:
            {name of the loss: scalar}; for a loss with `terms`, {loss_term: scalar}.

        Raises:
            RuntimeError: if the forward pass did not record a tensor.
            TypeError: if `forward` of a loss does not return a tensor, or `terms` not a dict.
            ValueError: if the tensors of student and teacher cannot be compared.
        """
        losses = {}
        try:
            for name, loss in self.distill_losses.items():
                arguments = self._arguments(name, gt)
                if contract_of(loss).terms:
                    terms = _returned(name, loss, 'terms', dict, loss.terms(**arguments))
                    losses.update({f'{name}_{term}': value for term, value in terms.items()})
                else:
                    losses[name] = _returned(name, loss, 'forward', Tensor, loss(**arguments))
        finally:
            for recorder in (*self.student_recorders.recorders.values(), *self.teacher_recorders.recorders.values()):
                recorder.reset_data_buffer()
        return losses

    def _arguments(self, loss_name: str, gt: Tensor) -> dict[str, Any]:
        arguments = {}
        for argument, mapping in self.loss_forward_mappings[loss_name].items():
            recorders = self.student_recorders if mapping['from_student'] else self.teacher_recorders
            recorder = recorders.get_recorder(mapping['recorder'])
            if not recorder.data_buffer:
                raise RuntimeError(
                    f'{loss_name}: {argument} was not recorded: the forward pass of the '
                    f'{SIDES["S" if mapping["from_student"] else "T"]} did not call '
                    f'{recorder.source!r} (record {mapping["recorder"]!r})'
                )
            record = self.get_record(**mapping)
            arguments[argument] = record if mapping['from_student'] or not self.upcasts_teacher else _upcast(record)
        arguments = with_two_classes(self.distill_losses[loss_name], arguments)
        for argument in arguments:
            partner = f'{argument[:-2]}_T'
            if argument.endswith('_S') and partner in arguments:
                arguments[argument] = self._fit(loss_name, argument[:-2], arguments[argument], arguments[partner])
        if loss_name in self.takes_gt:
            arguments['gt'] = gt
        return arguments

    def _fit(self, loss_name: str, record: str, student: Any, teacher: Any) -> Any:
        """Resizes the student's tensor to the teacher's size."""
        if isinstance(student, (list, tuple)) and isinstance(teacher, (list, tuple)) and len(student) == len(teacher):
            return [self._fit(loss_name, record, s, t) for s, t in zip(student, teacher)]
        if not (isinstance(student, Tensor) and isinstance(teacher, Tensor)):
            raise ValueError(
                f'{loss_name}: {record} is a {_describe_type(student)} in the student and a '
                f'{_describe_type(teacher)} in the teacher, which cannot be compared'
            )
        shapes = (
            f'{loss_name}: {record} is {tuple(student.shape)} in the student and {tuple(teacher.shape)} in the teacher'
        )
        if student.ndim != teacher.ndim or len(student) != len(teacher):
            raise ValueError(f'{shapes}, which cannot be compared')
        if student.shape[1] != teacher.shape[1] and not contract_of(self.distill_losses[loss_name]).any_width:
            why = 'they have different numbers of classes' if record.endswith('preds') else 'their widths differ'
            raise ValueError(f'{shapes}: {why}')
        if student.ndim == 4 and student.shape[2:] != teacher.shape[2:]:
            return resize(upcast(student), teacher.shape[2:], mode='bilinear', align_corners=self.align_corners)
        return student

    def _add_recorders(self, recorders: RecorderManager, model: BaseModel, from_student: bool) -> None:
        for loss_name, mappings in self.loss_forward_mappings.items():
            for mapping in mappings.values():
                name = mapping.get('recorder')
                if mapping.get('from_student') is from_student and name in RECORDS and name not in recorders.recorders:
                    if name in AUXILIARY:
                        _check_auxiliary_head(model, loss_name, name, 'S' if from_student else 'T')
                    recorders.recorders[name] = _recorder(name, model)

    def _widths(self, model: BaseModel, from_student: bool) -> dict[str, dict[str, int | list[int]]]:
        """The channels that each loss needs for its layers and aligners: {loss: {argument: channels}}."""
        widths = {}
        for name, loss in self.distill_losses.items():
            mappings, contract = self.loss_forward_mappings[name], contract_of(loss)
            named = signature(contract.build_layers).parameters
            wanted = {argument for argument in named if argument in mappings}
            if aligner_options(loss) is not None:
                wanted |= {argument for argument, mapping in mappings.items() if 'connector' not in mapping}
            widths[name] = {
                argument: _width(name, mappings[argument], model)
                for argument in mappings
                if argument in wanted and mappings[argument]['from_student'] is from_student
            }
            if from_student and 'num_classes' in named:
                widths[name]['num_classes'] = 2 if model.out_channels == 1 else model.num_classes
        return widths


def _upcast(record: Any) -> Any:
    if isinstance(record, (list, tuple)):
        return [_upcast(part) for part in record]
    return upcast(record) if isinstance(record, Tensor) else record


def with_two_classes(loss: nn.Module, arguments: dict[str, Any]) -> dict[str, Any]:
    """Replaces one-channel logits of a head by logits of two classes, unless the loss takes one channel."""
    if contract_of(loss).one_channel:
        return arguments
    arguments = dict(arguments)
    for pair in LOGITS:
        names = [name for name in pair if isinstance(arguments.get(name), Tensor)]
        arguments.update(zip(names, two_class_logits(*(arguments[name] for name in names))))
    return arguments


def _ours_first(losses: dict[str, dict]) -> dict[str, dict]:
    """Replaces the names of losses of the root registry by their classes.

    MMRazor's scope also has an `ATLoss`, a `DISTLoss` and an `MGDLoss`. 'mmrazor.ATLoss' names MMRazor's. So does
    `_scope_='mmrazor'`, which MMEngine adds to what a config inherits from MMRazor's configs.
    """
    ours = MODELS.module_dict
    return {
        name: dict(loss, type=ours[loss['type']]) if loss.get('type') in ours and '_scope_' not in loss else loss
        for name, loss in losses.items()
    }


def _recorder(record: str, model: BaseModel) -> BaseRecorder:
    if record in ('backbone', 'stage'):
        return StagesRecorder('backbone')
    name, head = _head(record, model)
    return logits_recorder(name, head) if record.endswith('preds') else feature_recorder(name, head)


def _check_auxiliary_head(model: BaseModel, loss_name: str, record: str, side: str) -> None:
    if not list_heads(getattr(model, 'auxiliary_head', None)):
        network = f'{SIDES[side]} ({type(model).__name__} with {type(model.backbone).__name__})'
        raise ValueError(
            f'{loss_name} reads the record {record}_{side}, but the {network} has no auxiliary head: add '
            f'auxiliary_head to model.{SIDES[side]}, or leave out {loss_name} (DIST: --method variants/dist_no_aux)'
        )


def _head(record: str, model: BaseModel) -> tuple[str, nn.Module]:
    """Path and module of the head of a record: the first of several auxiliary heads, or the one that classifies."""
    if record not in AUXILIARY:
        return classifying_head(model.decode_head, 'decode_head')
    first = isinstance(model.auxiliary_head, nn.ModuleList)
    return ('auxiliary_head.0', model.auxiliary_head[0]) if first else ('auxiliary_head', model.auxiliary_head)


def _width(loss_name: str, mapping: dict, model: BaseModel) -> int | list[int]:
    if mapping['recorder'] in ('feats', 'aux_feats'):
        return feature_width(_head(mapping['recorder'], model)[1])
    if mapping['recorder'] in ('backbone', 'stage'):
        widths = _stage_widths(model)
        return widths[mapping['data_idx']] if 'data_idx' in mapping else widths
    raise ValueError(
        f'{loss_name} needs the width of the record {mapping["recorder"]!r}, which is unknown: use feats, '
        'aux_feats, stage or backbone, or set a connector in loss_forward_mappings'
    )


def _stage_widths(model: BaseModel) -> list[int]:
    training = model.training
    model.eval()
    with torch.no_grad():
        output = model.backbone(next(model.parameters()).new_zeros(1, input_channels(model), 64, 64))
    model.train(training)
    return [stage.shape[1] for stage in stages(model.backbone, output)]


def _returned(name: str, loss: nn.Module, method: str, expected: type, value: Any) -> Any:
    if not isinstance(value, expected):
        advice = (
            '{name of the term: scalar}'
            if expected is dict
            else 'a scalar: to log several terms, define `terms`, which returns the dict, and return their sum'
        )
        raise TypeError(
            f'{name}: {method} of {type(loss).__name__} returned a {type(value).__name__}, expected {advice}'
        )
    return value


def _describe_type(value: Any) -> str:
    return f'{type(value).__name__} of {len(value)}' if isinstance(value, (list, tuple)) else type(value).__name__
