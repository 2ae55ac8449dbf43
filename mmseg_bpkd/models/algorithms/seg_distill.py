"""Distillation of one frozen teacher into one student."""

import copy
import os.path as osp
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from logging import WARNING

import torch
from mmengine.config import ConfigDict
from mmengine.logging import print_log
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.registry import MODELS
from mmrazor.models.algorithms import BaseAlgorithm, SingleTeacherDistill
from mmrazor.models.task_modules.recorder import FunctionOutputsRecorder, MethodOutputsRecorder
from mmrazor.models.utils import add_prefix
from mmrazor.registry import MODELS as RAZOR_MODELS
from mmseg.models import SegDataPreProcessor
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from mmseg_bpkd.fileio.checkpoint import check_pretrained, load_strictly, read_checkpoint, segmentor_state
from mmseg_bpkd.fileio.package_files import find_checkpoint

from ..losses.class_memory import ClassMemory
from ..segmentors import (
    NORMALIZATION,
    build_segmentor,
    check_distillable,
    forward_heads,
    input_channels,
    resolve_segmentor,
    resolve_teacher,
    trained_normalization,
)
from .early_gradient import make_gradients_early
from .failures import explained
from .folding import fold_batch_norm

DTYPES = {name: getattr(torch, name) for name in ('bfloat16', 'float16', 'float32')}


@MODELS.register_module()
class SegDistill(SingleTeacherDistill):
    """Trains a student segmentor on its task losses and on the losses between it and a frozen teacher.

    The teacher runs without gradient, in eval mode, and up to its logits only. It is kept outside the module tree, so
    the optimizer, DDP, EMA and checkpoints handle the student and the trained layers of the losses only: `teacher` is a
    plain attribute, and `_apply`, `train` and `__deepcopy__` pass it what submodules get. Validation runs the student.
    The teacher's auxiliary head is built, loaded and run only if a loss reads it (`aux_preds_T`, `aux_feats_T`).

    Args:
        distiller: config of a `SegDistiller`.
        teacher: `dict(cfg_path=..., **changes)` or a model config, see `resolve_segmentor`. `init_weights()` loads its
            weights from `teacher_ckpt`. A segmentor that is already built is used unchanged.
        student: as `teacher`. It keeps its ImageNet initialization.
        teacher_ckpt: path or URL of the teacher's checkpoint. From a distillation checkpoint, the student's weights are
            loaded.
        teacher_eval: False leaves the teacher's dropout on, as MMRazor does.
        num_classes, ignore_index: replace those of every head of both networks. `ignore_index` is the label of void
            pixels; losses of the distillation and the preprocessor get it too.
        data_preprocessor: replaces the student's. The teacher gets it too, but with the normalization that it was
            trained with: that of `data_preprocessor` in `teacher`, or else of the config in its checkpoint, or else of
            the config behind `cfg_path`. Only the student's preprocessor runs. If the teacher has another mean, std or
            channel order, the teacher's input is converted.
        test_cfg: replaces the student's.
        fold_teacher: whether to fold the teacher's batch norm into its convolutions, which is faster. The logits are
            equal within float error. A teacher that is already built is not folded.
        early_gradients: whether the student's heads compute the gradients of their own losses in the forward pass,
            which takes less memory. Losses and gradients are equal within float error. It has no effect if a recorder
            of the student records a function or a method.
        channels_last: whether both networks and their input use the channels-last memory format.
        compile_networks: 'teacher', 'student' or both: the networks whose backbone is compiled with `torch.compile`.
        teacher_dtype: 'bfloat16', 'float16' or 'float32': the teacher runs in this precision, whatever that of the
            student is. Losses get its logits and features in float32. None: as the student.

    Raises:
        FileNotFoundError: by `init_weights()`, if the teacher's checkpoint does not exist.
        ValueError: if `compile_networks` names another network, or for another `teacher_dtype`. By `init_weights()`, if
            the teacher has no checkpoint or one that does not fit, if it cannot be folded, or if the student's
            pretrained checkpoint does not fit.
        RuntimeError: by `loss()`, if the teacher's weights were not loaded.
        TypeError: if the student's input cannot be converted to the teacher's.
    """

    def __init__(
        self,
        distiller: dict,
        teacher: dict | BaseModel,
        student: dict | BaseModel,
        teacher_ckpt: str | None = None,
        teacher_eval: bool = True,
        num_classes: int | None = None,
        data_preprocessor: dict | None = None,
        test_cfg: dict | None = None,
        fold_teacher: bool = True,
        early_gradients: bool = True,
        channels_last: bool = False,
        compile_networks: Sequence[str] = (),
        ignore_index: int | None = None,
        teacher_dtype: str | None = None,
    ) -> None:
        # The order decides the random weights of student and losses: the teacher, which draws some too, comes last.
        if not isinstance(student, BaseModel):
            student = resolve_segmentor(student, num_classes, data_preprocessor, test_cfg, ignore_index)
            check_distillable(student, 'student')
            student = build_segmentor(student)
        # Not that of SingleTeacherDistill, which builds its own distiller and makes the teacher a submodule.
        BaseAlgorithm.__init__(self, architecture=student)
        self.distiller = RAZOR_MODELS.build(distiller)
        self.distillation_stopped = False  # set by the StopDistillationHook

        self.teacher_auxiliary = self.distiller.reads_auxiliary_head_of_teacher()
        self.teacher_ckpt = teacher_ckpt
        self.teacher_eval = teacher_eval
        self.teacher_norm_eval = True  # read by MMRazor's train()
        self.teacher_loaded = isinstance(teacher, BaseModel)
        self.fold_teacher = fold_teacher and not self.teacher_loaded
        self.teacher_config: dict = {}  # empty for a teacher that is already built
        if not isinstance(teacher, BaseModel):
            self.teacher_config = teacher
            teacher = resolve_teacher(teacher, num_classes, data_preprocessor, ignore_index)
            teacher = build_segmentor(_inference_only(teacher, self.teacher_auxiliary))
        object.__setattr__(self, 'teacher', revert_sync_batchnorm(teacher))  # no submodule, see above
        self.set_module_inplace_false(self.teacher, 'self.teacher')
        self.teacher.requires_grad_(False).eval()
        self.distiller.prepare_from_student(self.student)
        self.distiller.prepare_from_teacher(self.teacher)
        self._compare_preprocessing()

        if teacher_dtype not in (None, *DTYPES):
            raise ValueError(f'teacher_dtype must be one of {", ".join(DTYPES)}, got {teacher_dtype!r}')
        self.distiller.upcasts_teacher = teacher_dtype is not None
        self.teacher_dtype: torch.dtype | None = DTYPES[teacher_dtype] if teacher_dtype else None
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        if set(compile_networks) - {'teacher', 'student'}:
            raise ValueError(f"compile_networks must name 'teacher', 'student' or both, got {list(compile_networks)}")
        self.compiled = compile_networks
        # Early gradients call the losses image by image. A recorder of a function or method may record these calls.
        calls_are_recorded = any(
            isinstance(recorder, (FunctionOutputsRecorder, MethodOutputsRecorder))
            for recorder in self.distiller.student_recorders.recorders.values()
        )
        if early_gradients and not calls_are_recorded:
            make_gradients_early(self.student)
        self.student.to(memory_format=self.memory_format)  # before DDP, whose gradients have the weights' layout
        if 'student' in self.compiled:
            self.student.backbone.compile()

    def init_weights(self) -> None:
        """Initializes the student and the losses, and loads and optimizes the teacher."""
        check_pretrained(self.student)
        self.student.to(memory_format=torch.contiguous_format)  # random weights depend on the memory format
        super().init_weights()
        self.student.to(memory_format=self.memory_format)
        if not self.teacher_loaded:
            self._load_teacher()
        self.optimize_teacher()

    def optimize_teacher(self) -> None:
        """Folds, converts and compiles the teacher, as the arguments say. Its weights must be loaded."""
        if self.fold_teacher:
            fold_batch_norm(self.teacher)
        for module in self.teacher.modules():
            # Autocast would convert these weights again in each step.
            if self.teacher_dtype and isinstance(module, (_ConvNd, nn.Linear)):
                module.to(self.teacher_dtype)
        self.teacher.to(memory_format=self.memory_format)
        if 'teacher' in self.compiled:
            self.teacher.backbone.compile()

    def _load_teacher(self) -> None:
        if self.teacher_ckpt is None:
            raise ValueError(
                'the teacher has no checkpoint, but it must be trained: set model.teacher_ckpt to the path or URL of '
                'a checkpoint'
            )
        if '://' not in self.teacher_ckpt and not osp.isfile(find_checkpoint(self.teacher_ckpt)):
            raise FileNotFoundError(
                f'no checkpoint {self.teacher_ckpt} of the teacher: train it (see docs/recipes.md), or set '
                'model.teacher_ckpt to another file or URL'
            )
        checkpoint = read_checkpoint(self.teacher_ckpt)
        self._normalize_as_trained(checkpoint, self.teacher_ckpt)
        state = segmentor_state(checkpoint, self.teacher, self.teacher_ckpt)
        if not self.teacher_auxiliary:
            state = {key: value for key, value in state.items() if not key.startswith('auxiliary_head.')}
        elif not any(key.startswith('auxiliary_head.') for key in state):
            raise ValueError(
                f'teacher_ckpt={self.teacher_ckpt!r} has no weights of an auxiliary head, but a loss reads that head '
                '(aux_preds_T or aux_feats_T): give a checkpoint that has them, or leave out the loss'
            )
        self._compare_classes(state)
        load_strictly(self.teacher, state, f'teacher_ckpt={self.teacher_ckpt!r}')
        self.teacher_loaded = True

    def _normalize_as_trained(self, checkpoint: dict, source: str) -> None:
        """Gives the teacher the normalization that it was trained with, as far as this is known."""
        theirs = self.teacher.data_preprocessor
        known = trained_normalization(self.teacher_config, checkpoint, source)
        if known is None:
            return
        trained_with, where = known
        if _normalizes_with(theirs, trained_with) or len(trained_with['mean']) != input_channels(self.teacher):
            return
        if 'data_preprocessor' in self.teacher_config:
            print_log(
                f'the teacher is normalized as model.teacher.data_preprocessor says, but was trained with '
                f'{_describe(trained_with)}, according to {where}',
                'current',
                WARNING,
            )
            return
        options = dict(pad_val=theirs.pad_val, seg_pad_val=theirs.seg_pad_val, size=theirs.size)
        device = next(self.teacher.parameters()).device
        self.teacher.data_preprocessor = SegDataPreProcessor(**trained_with, **options).to(device)
        self._compare_preprocessing()
        print_log(
            f'the teacher is normalized with {_describe(trained_with)}, as in its training, according to {where}; the '
            'student is normalized otherwise',
            'current',
        )

    def _compare_classes(self, state: dict[str, Tensor]) -> None:
        for name, weight in self.teacher.decode_head.state_dict(prefix='decode_head.').items():
            if name.endswith('conv_seg.weight') and name in state and len(state[name]) != len(weight):
                raise ValueError(
                    f'the teacher of teacher_ckpt={self.teacher_ckpt!r} has {len(state[name])} classes, but the data '
                    f'has {len(weight)}, which is num_classes of the model: give a teacher that was trained on this '
                    'data set'
                )

    def loss(self, inputs: Tensor, data_samples: list[SegDataSample]) -> dict:
        """Computes the losses of a training step.

        Args:
            inputs: preprocessed images, (N, channels, H, W).
            data_samples: N samples with labels.

        Returns:
            {'student.decode.loss_ce': ..., 'distill.loss_bpkd_edge': ..., ...}
        """
        if not self.teacher_loaded:
            raise RuntimeError('the weights of the teacher were not loaded: call init_weights() before training')
        if self.distillation_stopped:
            losses = add_prefix(self.student(inputs, data_samples, mode='loss'), 'student')
            idle = [0 * parameter.sum() for parameter in self.distiller.parameters()]  # DDP expects a gradient of each
            return {**losses, 'distill.loss_stopped': sum(idle)} if idle else losses
        inputs = inputs.contiguous(memory_format=self.memory_format)
        explain = explained(self.teacher, 'the teacher fails on this batch', inputs)
        with explain, self.distiller.teacher_recorders, torch.no_grad(), self._teacher_precision(inputs.device.type):
            forward_heads(self.teacher, self._teacher_input(inputs), auxiliary=self.teacher_auxiliary)
        explain = explained(self.student, 'the student fails on this batch', inputs, data_samples)
        with explain, self.distiller.student_recorders:
            losses = add_prefix(self.student(inputs, data_samples, mode='loss'), 'student')
        gt = torch.cat([sample.gt_sem_seg.data for sample in data_samples])
        losses.update(add_prefix(self.distiller.compute_distill_losses(gt), 'distill'))
        return losses

    def train(self, mode: bool = True) -> 'SegDistill':
        """Sets the student's mode. The teacher stays in eval mode, except for its dropout if `teacher_eval` is off."""
        if not self.teacher_eval:
            self.teacher.train(mode)
        super().train(mode)  # puts the teacher's batch norm back into eval mode
        return self

    def _apply(self, fn, recurse: bool = True) -> 'SegDistill':
        self.teacher._apply(fn)  # .to(device), .half() ...
        return super()._apply(fn, recurse)

    def __deepcopy__(self, memo: dict) -> 'SegDistill':
        """Copies the model, as EMA does. The copy shares the teacher, its recorders, and the memories of features."""
        memories = [module for module in self.distiller.modules() if isinstance(module, ClassMemory)]
        for shared in (self.teacher, self.distiller.teacher_recorders, *memories):
            memo[id(shared)] = shared
        new = memo[id(self)] = type(self).__new__(type(self))
        new.__dict__ = copy.deepcopy(self.__dict__, memo)
        return new

    def _compare_preprocessing(self) -> None:
        """Sets `teacher_scale` and `teacher_shift`, which convert the student's normalized input to the teacher's.

        Raises:
            TypeError: if one of them has another preprocessor than `SegDataPreProcessor`.
        """
        ours, theirs = self.data_preprocessor, self.teacher.data_preprocessor
        for owner, preprocessor in (('student', ours), ('teacher', theirs)):
            if type(preprocessor) is not SegDataPreProcessor:
                raise TypeError(
                    f'the {owner} has a {type(preprocessor).__name__}, expected a SegDataPreProcessor: otherwise the '
                    "student's input cannot be converted to the teacher's. Set its data_preprocessor"
                )
        channels_S, channels_T = input_channels(self.student), input_channels(self.teacher)
        if channels_S != channels_T:
            raise TypeError(
                f'the student takes images of {channels_S} channels and the teacher of {channels_T}, expected the same '
                'number: both get the same images'
            )
        self.flip_channels = ours.channel_conversion != theirs.channel_conversion
        mean_S, std_S = _normalization(ours, self.flip_channels)
        mean_T, std_T = (x.to(mean_S) for x in _normalization(theirs, flip=False))
        same = not self.flip_channels and torch.equal(mean_S, mean_T) and torch.equal(std_S, std_T)
        self.register_buffer('teacher_scale', None if same else std_S / std_T, persistent=False)
        self.register_buffer('teacher_shift', None if same else (mean_S - mean_T) / std_T, persistent=False)

    def _teacher_precision(self, device: str) -> AbstractContextManager:
        if self.teacher_dtype is None:
            return nullcontext()
        return torch.autocast(device, self.teacher_dtype, enabled=self.teacher_dtype != torch.float32)

    def _teacher_input(self, inputs: Tensor) -> Tensor:
        if self.teacher_scale is None:
            return inputs
        if self.flip_channels:
            inputs = inputs.flip(1)
        return inputs * self.teacher_scale + self.teacher_shift


def _inference_only(model: ConfigDict, auxiliary: bool) -> ConfigDict:
    """Returns the teacher's config without pretrained weights to download, with its auxiliary head if `auxiliary`."""
    check_distillable(model, 'teacher')
    if not auxiliary:
        model.pop('auxiliary_head', None)
    model.pop('pretrained', None)
    model.backbone.pop('pretrained', None)
    model.backbone.pop('init_cfg', None)
    return model


def _normalizes_with(preprocessor: SegDataPreProcessor, normalization: dict) -> bool:
    mean, std = _normalization(preprocessor, flip=False)
    same = [
        torch.equal(x.flatten().cpu(), torch.tensor(y, dtype=x.dtype))
        for x, y in ((mean, normalization['mean']), (std, normalization['std']))
    ]
    return all(same) and preprocessor.channel_conversion == bool(normalization['bgr_to_rgb'])


def _describe(normalization: dict) -> str:
    return ', '.join(f'{key}={normalization[key]}' for key in NORMALIZATION)


def _normalization(preprocessor: SegDataPreProcessor, flip: bool) -> tuple[Tensor, Tensor]:
    if not preprocessor._enable_normalize:
        return torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
    stats = preprocessor.mean.clone(), preprocessor.std.clone()
    return tuple(x.flip(0) for x in stats) if flip else stats
