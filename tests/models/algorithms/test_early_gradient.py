"""Early gradients give MMSegmentation's losses and gradients with less memory."""

import copy
import weakref
from functools import partial

import pytest
import tiny
import torch
from mmengine.optim.optimizer import amp_optimizer_wrapper
from mmengine.registry import OPTIM_WRAPPERS
from mmseg.models.utils import resize
from torch.nn.utils import parameters_to_vector

from mmseg_bpkd.models.algorithms import early_gradient
from mmseg_bpkd.models.algorithms.early_gradient import EarlyGradient, ImageByImage, make_gradients_early
from mmseg_bpkd.models.segmentors import build_segmentor, resolve_segmentor

CE = dict(type='CrossEntropyLoss', loss_weight=0.7)
OHEM = dict(type='OHEMPixelSampler', thresh=0.7, min_kept=100)
HEADS = {
    'cross-entropy': (ImageByImage, dict(loss_decode=CE)),
    'a sum of two of one name': (ImageByImage, dict(loss_decode=[CE, dict(CE, loss_weight=0.1)])),
    'two of two names': (ImageByImage, dict(loss_decode=[CE, dict(CE, loss_name='loss_again')])),
    'mean over valid pixels': (EarlyGradient, dict(loss_decode=dict(CE, avg_non_ignore=True))),
    'every pixel': (EarlyGradient, dict(loss_decode=dict(CE, reduction='none'))),
    'with dice': (EarlyGradient, dict(loss_decode=[CE, dict(type='DiceLoss', loss_name='loss_dice')])),
    'hard pixels': (EarlyGradient, dict(loss_decode=CE, sampler=OHEM)),
}


def student(**head):
    cfg = resolve_segmentor(tiny.pspnet(4), 3, tiny.PREPROCESSOR)
    cfg.decode_head.update(head, dropout_ratio=0)
    cfg.auxiliary_head.dropout_ratio = 0
    torch.manual_seed(1)
    return build_segmentor(cfg)


def batch(size: int = 3, void: int = 255) -> dict:
    """A batch in which one image is almost completely void."""
    data = tiny.batch(size)
    data['data_samples'][0].gt_sem_seg.data[:, 4:] = 255
    for sample in data['data_samples']:
        gt = sample.gt_sem_seg.data
        gt[gt == 255] = void
    return data


def losses_and_gradients(model, scale: float = 1.0, void: int = 255) -> tuple:
    losses = model(**model.data_preprocessor(batch(void=void), True), mode='loss')
    sum(scale * value.mean() for name, value in losses.items() if 'loss' in name).backward()
    losses = {name: value.detach().mean() for name, value in losses.items()}
    return losses, {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize(('kind', 'head'), HEADS.values(), ids=HEADS)
def test_losses_accuracies_and_gradients_are_mmsegmentations(kind, head):
    model = student(**head).double()
    make_gradients_early(model)
    assert type(model.decode_head.loss_by_feat) is kind
    # The tolerance covers the 1e-7 that MMSegmentation adds to the number of pixels.
    for ours, theirs in zip(losses_and_gradients(model, 3.0), losses_and_gradients(student(**head).double(), 3.0)):
        assert ours.keys() == theirs.keys()
        for name in theirs:
            float32 = name.endswith('acc_seg')
            torch.testing.assert_close(ours[name], theirs[name], rtol=1e-6 if float32 else 1e-8, atol=1e-10)
    assert max(gradient.abs().max() for gradient in theirs.values()) > 1e-3


def kept_at_the_end_of_forward(model) -> int:
    """Counts the values that autograd keeps in tensors of the label's size."""
    kept = weakref.WeakSet()

    class Kept:
        def __init__(self, tensor):
            self.tensor = tensor
            kept.add(self)

    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        losses = model(**model.data_preprocessor(batch(), True), mode='loss')
    assert losses
    return sum(k.tensor.numel() for k in kept if k.tensor.shape[1:] == (3, 32, 32) and k.tensor.is_floating_point())


def test_nothing_as_large_as_the_label_is_kept_for_the_backward_pass():
    model = student()
    images = 3 * 3 * 32 * 32  # three channels, like the logits; the first convolution keeps them
    assert kept_at_the_end_of_forward(model) >= 2 * images
    make_gradients_early(model)
    assert kept_at_the_end_of_forward(model) == images


def test_the_enlarged_logits_are_gone_before_their_gradient_is_made(monkeypatch):
    made = []

    def recorded(*args, **kwargs):
        made.append(resize(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(early_gradient, 'resize', recorded)
    data, early = batch(1)['data_samples'], ImageByImage(student(loss_decode=CE).decode_head)
    losses, correct = early.image_losses(torch.randn(1, 3, 4, 4, requires_grad=True), data[0].gt_sem_seg.data)
    enlarged = weakref.ref(made.pop())
    assert enlarged() is None and losses['loss_ce'].requires_grad and 0 <= correct <= 32 * 32


def test_heads_with_a_loss_that_is_trained_or_a_way_of_their_own_are_left_alone():
    model = student()
    model.decode_head.loss_decode.weight = torch.nn.Parameter(torch.ones(()))
    model.auxiliary_head.__class__ = type('Head', (type(model.auxiliary_head),), dict(loss_by_feat=lambda *_: {}))
    make_gradients_early(model)
    assert not any('loss_by_feat' in vars(head) for head in (model.decode_head, model.auxiliary_head))


@pytest.mark.parametrize('loss', [dict(CE, class_weight=[1.0, 2.0, 0.5]), dict(CE, use_sigmoid=True)], ids=str)
def test_images_are_taken_one_by_one_only_where_the_loss_is_their_mean(loss):
    model = student(loss_decode=loss)
    make_gradients_early(model)
    assert type(model.decode_head.loss_by_feat) is EarlyGradient


@pytest.mark.parametrize('head', [dict(loss_decode=CE), dict(loss_decode=dict(CE, avg_non_ignore=True))], ids=str)
def test_another_void_is_void_too(head):
    results = []
    for early in (True, False):
        model = student(ignore_index=1, **head).double()
        model.auxiliary_head.ignore_index = 1
        if early:
            make_gradients_early(model)
        results.append(losses_and_gradients(model, void=1))
    for ours, theirs in zip(*results):
        for name in theirs:
            torch.testing.assert_close(ours[name], theirs[name], rtol=1e-6, atol=1e-9)


def test_a_head_that_changes_its_labels_trains_on_the_changed_ones():
    logits, samples = torch.randn(2, 3, 4, 4, requires_grad=True), batch(2)['data_samples']
    head = student().decode_head
    head._stack_batch_gt = lambda samples: torch.zeros(len(samples), 1, 32, 32, dtype=torch.int64)
    expected = head.loss_by_feat(logits, samples)
    torch.testing.assert_close(ImageByImage(head)(logits, samples)['loss_ce'], expected['loss_ce'])


def test_a_loss_without_gradient_is_only_a_number():
    """Some losses of MMSegmentation return such a value if there is no valid pixel."""
    early = EarlyGradient(student().decode_head)
    early.loss_by_feat = lambda logits, samples: {'loss': logits.new_tensor(0.0)}
    assert not early(torch.ones(1, 3, 4, 4, requires_grad=True), [])['loss'].requires_grad


def test_once_is_enough():
    model = student()
    make_gradients_early(model)
    before = model.decode_head.loss_by_feat
    make_gradients_early(model)
    assert model.decode_head.loss_by_feat is before


def test_without_gradient_the_losses_are_there_too():
    model = student()
    expected = losses_and_gradients(model)[0]
    make_gradients_early(model)
    with torch.no_grad():
        losses = model(**model.data_preprocessor(batch(), True), mode='loss')
    assert losses.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(losses[name].mean(), expected[name])


def test_a_label_too_few_is_an_error():
    model = student()
    make_gradients_early(model)
    with pytest.raises(ValueError, match='zip'):
        model.decode_head.loss_by_feat(torch.ones(2, 3, 4, 4, requires_grad=True), batch(1)['data_samples'])


def test_the_accuracy_of_void_alone_is_mmsegmentations():
    logits, samples = torch.randn(2, 3, 4, 4, requires_grad=True), batch(2)['data_samples']
    for sample in samples:
        sample.gt_sem_seg.data[:] = 255
    model = student()
    expected = model.decode_head.loss_by_feat(logits, samples)
    make_gradients_early(model)
    losses = model.decode_head.loss_by_feat(logits, samples)
    assert {name: value.tolist() for name, value in losses.items()} == {
        name: value.tolist() for name, value in expected.items()
    }


def test_a_copy_uses_its_own_head():
    model = student()
    make_gradients_early(model)
    copied = copy.deepcopy(model)
    assert copied.decode_head.loss_by_feat.loss_by_feat.__self__ is copied.decode_head


def test_half_precision_loses_no_gradient_before_it_is_scaled():
    """A pixel's share of the mean over 2^22 pixels is too small for float16 until the loss is scaled."""
    head = student().decode_head
    early = EarlyGradient(head)
    early.loss_by_feat = lambda logits, samples: {'loss': logits.mean() / 2**20}
    logits = torch.ones(1, 3, 16, 16, dtype=torch.float16, requires_grad=True)
    (2**24 * early(logits, [])['loss']).backward()
    torch.testing.assert_close(logits.grad, torch.full_like(logits, 16 / 768))


def trained(teacher_ckpt: str, wrapper: dict, early: bool) -> torch.Tensor:
    """Returns the change of the student's weights in one step on two batches; more steps would amplify rounding."""
    model = tiny.distillation(teacher_ckpt, early_gradients=early)
    assert (type(model.student.decode_head.loss_by_feat) is ImageByImage) is early
    for head in (model.student.decode_head, model.student.auxiliary_head):
        head.dropout = None
    model.train()
    start = parameters_to_vector(model.student.parameters()).detach()
    wrapper = OPTIM_WRAPPERS.build(
        dict(wrapper, accumulative_counts=2, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    )
    wrapper.initialize_count_status(model, 0, 2)
    for seed in range(2):
        log = model.train_step(tiny.batch(seed=seed), wrapper)
        assert all(torch.isfinite(value).all() for value in log.values())
    return parameters_to_vector(model.student.parameters()).detach() - start


@pytest.mark.parametrize(
    ('wrapper', 'tolerance'),
    [(dict(type='OptimWrapper'), 1e-5), (dict(type='AmpOptimWrapper', dtype='bfloat16', loss_scale=512.0), 0.01)],
    ids=['float32', 'bfloat16'],
)
def test_accumulated_and_scaled_training_is_mmsegmentations(tmp_path, monkeypatch, wrapper, tolerance):
    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
    monkeypatch.setattr(amp_optimizer_wrapper, 'GradScaler', partial(torch.amp.GradScaler, 'cpu'))
    teacher_ckpt = tiny.save_teacher(tmp_path / 'teacher.pth')
    ours, theirs = (trained(teacher_ckpt, wrapper, early) for early in (True, False))
    assert theirs.norm() > 0.01 and (ours - theirs).norm() < tolerance * theirs.norm()


RECORDED = {
    'inputs of the loss': dict(type='ModuleInputs', source='decode_head.loss_decode'),
    'calls of the method': dict(
        type='MethodInputs', source='mmseg.models.losses.cross_entropy_loss.CrossEntropyLoss.forward'
    ),
}


@pytest.mark.parametrize('recorder', RECORDED.values(), ids=RECORDED)
def test_what_a_recorder_finds_in_a_loss_is_the_whole_batch_and_trains_the_student(tmp_path, recorder):
    """MMRazor's recipes and configs/mmrazor record labels like this."""
    inputs = dict(recorder='loss', from_student=True)
    distiller = dict(
        type='SegDistiller',
        losses=dict(loss_bpkd=dict(type='BPKDLoss'), loss_cwd=dict(type='CWDLoss')),
        student_recorders=dict(loss=recorder),
        loss_forward_mappings=dict(
            loss_bpkd=dict(gt=dict(inputs, data_idx=1)), loss_cwd=dict(preds_S=dict(inputs, data_idx=0))
        ),
    )
    teacher_ckpt = tiny.save_teacher(tmp_path / 'teacher.pth')
    losses = tiny.losses_of(tiny.distillation(teacher_ckpt, distiller=distiller))
    expected = tiny.losses_of(tiny.distillation(teacher_ckpt))
    for term in ('edge', 'body'):
        torch.testing.assert_close(losses[f'distill.loss_bpkd_{term}'], expected[f'distill.loss_bpkd_{term}'])
    assert losses['distill.loss_cwd'].requires_grad


def test_the_student_of_a_distillation_has_them(tmp_path):
    model = tiny.distillation(tiny.save_teacher(tmp_path / 'teacher.pth'))
    assert type(model.student.decode_head.loss_by_feat) is ImageByImage
    assert 'loss_by_feat' not in vars(model.teacher.decode_head)
