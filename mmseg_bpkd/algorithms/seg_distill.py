"""One frozen teacher, one student."""

import copy
import os.path as osp
from typing import List, Optional, Sequence, Union

import torch
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.registry import MODELS
from mmrazor.models.algorithms import SingleTeacherDistill
from mmrazor.models.task_modules.recorder import FunctionOutputsRecorder, MethodOutputsRecorder
from mmrazor.models.utils import add_prefix
from mmseg.models import SegDataPreProcessor
from mmseg.structures import SegDataSample
from torch import Tensor

from ..checkpoint import check_pretrained, load_strictly, read_checkpoint, segmentor_state
from ..losses.class_memory import ClassMemory
from ..segmentors import build_segmentor, resolve_segmentor
from .early_gradient import make_gradients_early
from .folding import fold_batch_norm


@MODELS.register_module()
class SegDistill(SingleTeacherDistill):
    """Trains a student segmentor on its task and on what a distiller makes of a frozen teacher.

    The teacher runs without gradient, in eval mode and up to its logits only. It is no submodule: optimiser, DDP, EMA
    and checkpoints see the student and the trainable parts of the losses. Validation runs the student alone.

    Args:
        distiller: config of a `SegDistiller`.
        teacher: dict(cfg_path=..., **changes) or a model config (see `resolve_segmentor`), whose weights
            `init_weights()` reads from `teacher_ckpt`; or a built segmentor, which is taken as it is.
        student: likewise; keeps its ImageNet initialisation.
        teacher_ckpt: file or address; a distillation checkpoint stands for its student.
        teacher_eval: False leaves the teacher's dropout on, as MMRazor does.
        num_classes: of every head.
        data_preprocessor: the student's, and the only one that runs: a teacher with another mean, std or channel order
            gets its input converted.
        test_cfg: the student's.
        fold_teacher: fold the batch norm of the teacher into its convolutions, unless it was built already: the same
            logits, within float error. An error if a recorder looks between them.
        channels_last: the memory format of both networks and of their input.
        compile: 'teacher', 'student' or both: their backbones are compiled by `torch.compile`.

    Raises:
        ValueError, FileNotFoundError: from `init_weights()`, if the teacher has no checkpoint, it does not fit, or what
            the student is to start from holds hardly any of its weights.
        RuntimeError: from `loss()`, if the teacher's weights were never loaded.
        TypeError: if the teacher's preprocessing cannot be converted to.
    """

    def __init__(
        self,
        distiller: dict,
        teacher: Union[dict, BaseModel],
        student: Union[dict, BaseModel],
        teacher_ckpt: Optional[str] = None,
        teacher_eval: bool = True,
        num_classes: Optional[int] = None,
        data_preprocessor: Optional[dict] = None,
        test_cfg: Optional[dict] = None,
        fold_teacher: bool = True,
        channels_last: bool = False,
        compile: Sequence[str] = (),
    ) -> None:
        if not isinstance(student, BaseModel):  # first, so that it starts from the same weights as without a teacher
            student = build_segmentor(resolve_segmentor(student, num_classes, data_preprocessor, test_cfg))
        self_made = isinstance(teacher, BaseModel)
        if not self_made:
            teacher = build_segmentor(_teacher_config(teacher, num_classes, data_preprocessor))
        super().__init__(distiller=distiller, teacher=revert_sync_batchnorm(teacher), architecture=student)
        # Out of the module tree, into plain sight: nothing that walks the tree copies, saves or averages it.
        self.__dict__['teacher'] = self._modules.pop('teacher')
        self.teacher_ckpt = teacher_ckpt
        self.teacher_eval = teacher_eval
        self.teacher_loaded = self_made
        self.teacher.eval()
        self._compare_preprocessing()
        self.fold_teacher = fold_teacher and not self_made
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.compiled = _networks(compile)
        if not any(
            isinstance(recorder, (FunctionOutputsRecorder, MethodOutputsRecorder))
            for recorder in self.distiller.student_recorders.recorders.values()
        ):
            make_gradients_early(self.student)  # which calls the losses otherwise, and they may be what is recorded
        self.student.to(memory_format=self.memory_format)  # now, since DDP lays out its gradients by the weights
        if 'student' in self.compiled:
            self.student.backbone.compile()

    def init_weights(self) -> None:
        check_pretrained(self.student)
        self.student.to(memory_format=torch.contiguous_format)  # so that random weights do not depend on the setting
        super().init_weights()
        self.student.to(memory_format=self.memory_format)
        if not self.teacher_loaded:
            self._load_teacher()
        self.optimize_teacher()

    def optimize_teacher(self) -> None:
        """Makes the teacher, whose weights are there and stay, as fast as it is asked to be."""
        if self.fold_teacher:
            fold_batch_norm(self.teacher)
        self.teacher.to(memory_format=self.memory_format)
        if 'teacher' in self.compiled:
            self.teacher.backbone.compile()

    def _load_teacher(self) -> None:
        if self.teacher_ckpt is None:
            raise ValueError(
                'the teacher has no checkpoint, and an untrained one has nothing to teach: '
                'set model.teacher_ckpt to a file or an address'
            )
        if '://' not in self.teacher_ckpt and not osp.isfile(self.teacher_ckpt):
            raise FileNotFoundError(
                f'no checkpoint {self.teacher_ckpt} of the teacher: train it (README says with '
                'which config), or name another file by model.teacher_ckpt'
            )
        state = segmentor_state(read_checkpoint(self.teacher_ckpt))
        state = {key: value for key, value in state.items() if not key.startswith('auxiliary_head.')}
        load_strictly(self.teacher, state, f'teacher_ckpt={self.teacher_ckpt!r}')
        self.teacher_loaded = True

    def loss(self, inputs: Tensor, data_samples: List[SegDataSample]) -> dict:
        """One training step's losses.

        Args:
            inputs: preprocessed images, (N, 3, H, W).

        Returns:
            {'student.decode.loss_ce': ..., 'distill.loss_bpkd_edge': ..., ...}
        """
        if not self.teacher_loaded:
            raise RuntimeError('the weights of the teacher were not loaded: call init_weights() before training')
        if self.distillation_stopped:  # by MMRazor's StopDistillHook
            losses = add_prefix(self.student(inputs, data_samples, mode='loss'), 'student')
            idle = [0 * parameter.sum() for parameter in self.distiller.parameters()]  # DDP waits for every gradient
            return {**losses, 'distill.loss_stopped': sum(idle)} if idle else losses
        inputs = inputs.contiguous(memory_format=self.memory_format)
        with self.distiller.teacher_recorders, torch.no_grad():
            self.teacher(self._teacher_input(inputs), mode='tensor')
        with self.distiller.student_recorders:
            losses = add_prefix(self.student(inputs, data_samples, mode='loss'), 'student')
        gt = torch.cat([sample.gt_sem_seg.data for sample in data_samples])
        losses.update(add_prefix(self.distiller.compute_distill_losses(gt), 'distill'))
        return losses

    def train(self, mode: bool = True) -> 'SegDistill':
        if not self.teacher_eval:
            self.teacher.train(mode)
        super().train(mode)  # puts the teacher's batch norm back into eval mode
        return self

    def _apply(self, fn, recurse: bool = True) -> 'SegDistill':
        self.teacher._apply(fn)  # .to(device), .half() ...
        return super()._apply(fn, recurse)

    def __deepcopy__(self, memo: dict) -> 'SegDistill':
        """A copy (EMA makes one) shares the frozen teacher, what its hooks record into, and memories of features."""
        memories = [module for module in self.distiller.modules() if isinstance(module, ClassMemory)]
        for shared in (self.teacher, self.distiller.teacher_recorders, *memories):
            memo[id(shared)] = shared
        new = memo[id(self)] = type(self).__new__(type(self))
        new.__dict__ = copy.deepcopy(self.__dict__, memo)
        return new

    def _compare_preprocessing(self) -> None:
        """Finds y = scale * x + shift (of flipped channels) between the normalised inputs of student and teacher."""
        ours, theirs = self.data_preprocessor, self.teacher.data_preprocessor
        for owner, preprocessor in (('student', ours), ('teacher', theirs)):
            if type(preprocessor) is not SegDataPreProcessor:
                raise TypeError(
                    f'the {owner} has a {type(preprocessor).__name__}: the input of the student can be '
                    'converted to that of the teacher only if both have a SegDataPreProcessor'
                )
        self.flip_channels = ours.channel_conversion != theirs.channel_conversion
        mean_S, std_S = _normalisation(ours, self.flip_channels)
        mean_T, std_T = _normalisation(theirs, flip=False)
        same = not self.flip_channels and torch.equal(mean_S, mean_T) and torch.equal(std_S, std_T)
        self.register_buffer('teacher_scale', None if same else std_S / std_T, persistent=False)
        self.register_buffer('teacher_shift', None if same else (mean_S - mean_T) / std_T, persistent=False)

    def _teacher_input(self, inputs: Tensor) -> Tensor:
        if self.teacher_scale is None:
            return inputs
        if self.flip_channels:
            inputs = inputs.flip(1)
        return inputs * self.teacher_scale + self.teacher_shift


def _networks(compile: Sequence[str]) -> Sequence[str]:
    if set(compile) - {'teacher', 'student'}:
        raise ValueError(f"compile must name 'teacher', 'student' or both, got {list(compile)}")
    return compile


def _teacher_config(teacher: dict, num_classes: Optional[int], data_preprocessor: Optional[dict]) -> dict:
    """Only what makes logits, and nothing to download: the checkpoint brings every weight."""
    model = resolve_segmentor(teacher, num_classes)
    model.pop('auxiliary_head', None)
    model.pop('pretrained', None)
    model.backbone.pop('pretrained', None)
    model.backbone.pop('init_cfg', None)
    if data_preprocessor is not None:
        model.setdefault('data_preprocessor', data_preprocessor)
    return model


def _normalisation(preprocessor: SegDataPreProcessor, flip: bool) -> tuple:
    if not preprocessor._enable_normalize:
        return torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    stats = preprocessor.mean.clone(), preprocessor.std.clone()
    return tuple(x.flip(0) for x in stats) if flip else stats
