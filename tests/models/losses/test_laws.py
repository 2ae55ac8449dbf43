"""Properties that all registered losses have."""

import doctest
from importlib import import_module

import catalog
import oracles
import pytest
import torch
from catalog import DIVERGENCES, LOSSES
from mmengine.registry import MODELS

from mmseg_bpkd.models import losses

every_loss = pytest.mark.parametrize('name', LOSSES)


def test_every_exported_loss_is_registered_and_in_the_catalog():
    registered = {
        name for name, cls in MODELS.module_dict.items() if cls.__module__.startswith('mmseg_bpkd.models.losses')
    }
    exported = set(losses.__all__) - {'DistillLoss'}  # the base class of the losses
    assert {type(make()).__name__ for make in LOSSES.values()} == registered == exported


@pytest.mark.parametrize('name', DIVERGENCES)
def test_divergence_and_its_gradient_are_zero_if_student_and_teacher_agree(name):
    loss, given = LOSSES[name](), catalog.with_agreeing_student(catalog.records())
    if loss.align:
        given['feats_T'] = catalog.arguments(loss, given)['feats_S']
    student = catalog.student_record(loss, given)
    student.requires_grad_()
    value = catalog.value(loss, given)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-12) and student.grad.abs().max() < 1e-10


@pytest.mark.parametrize('name', [name for name in LOSSES if name not in ('critic', 'skds pairs as in SKDS')])
def test_gradient_passes_gradcheck(name):
    """Except for two losses that change the gradient; see `test_skds.py`.

    The critic reverses that of the student. SKDS's pairs treat the norms as constants.
    """
    loss, given = LOSSES[name]().double(), catalog.records()
    student = catalog.student_record(loss, given)

    def value(x):
        return catalog.value(loss, {key: x if y is student else y for key, y in given.items()})

    assert torch.autograd.gradcheck(value, (student.requires_grad_(),))


@every_loss
def test_student_gets_a_gradient_and_teacher_does_not(name):
    loss, given = LOSSES[name]().double(), catalog.records()
    student = catalog.student_record(loss, given)
    student.requires_grad_()
    teachers = [x for name, x in given.items() if name.endswith('_T')]
    for x in teachers:
        x.requires_grad_()
    catalog.value(loss, given).backward()
    assert all(x.grad is None for x in teachers) and student.grad.abs().sum() > 0


@every_loss
def test_every_trained_parameter_gets_a_gradient(name):
    loss, given = LOSSES[name]().double(), catalog.records()
    student = catalog.student_record(loss, given)
    student.requires_grad_()
    loss(**catalog.arguments(loss, given)).backward()
    assert not [name for name, parameter in loss.named_parameters() if parameter.grad is None]


@every_loss
@pytest.mark.parametrize('fill', [0, 1, oracles.VOID])
def test_value_and_gradient_are_finite_for_images_of_one_class_or_void(name, fill):
    loss, given = LOSSES[name]().double(), catalog.records()
    given['gt'].fill_(fill)
    student = catalog.student_record(loss, given)
    student.requires_grad_()
    value = catalog.value(loss, given)
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(student.grad).all()


@pytest.mark.parametrize(
    ('name', 'term'),
    [('bpkd', 'edge'), ('ifvd', None), ('apd', 'center'), ('apd', 'teacher'), ('cirkd', 'pixel'), ('cirkd', 'region')],
)
def test_void_pixels_do_not_change_the_terms_that_use_the_label(name, term):
    """In eval mode, because the batch norm of CIRKD's projector averages over all pixels."""
    loss, given = LOSSES[name]().double().eval(), catalog.records()

    def value():
        torch.manual_seed(5)
        taken = catalog.arguments(loss, given)
        return loss.terms(**taken)[term] if term else loss(**taken)

    if name == 'bpkd':
        loss = catalog.make_loss('BPKDLoss', kernel_size=3)
    if name == 'cirkd':
        value()  # fill the memories, which must not contain void pixels
        loss._remember = lambda *_: None
    before = value()
    for side in 'ST':
        for record in ('preds', 'feats'):
            given[f'{record}_{side}'][:, :, 0, 0] += 100  # the cell of the 2x2 void pixels
    assert before > 0
    torch.testing.assert_close(value(), before)


@pytest.mark.parametrize('name', [name for name in LOSSES if not list(LOSSES[name]().parameters())])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_records_are_upcast_to_float32(name, dtype):
    """Logits of an overconfident network, and features whose squares overflow half precision.

    Losses with trained layers accept half precision only under autocast, which the next test covers.
    """
    loss, given = LOSSES[name](), catalog.records(dtype)
    for name, x in given.items():
        given[name] = x * (300 if 'feats' in name else 40) if x.is_floating_point() else x
    student = catalog.student_record(loss, given)
    value = catalog.value(loss, given)
    student.requires_grad_()
    catalog.value(loss, given).backward()
    expected = catalog.value(
        loss, {name: x.detach().float() if x.is_floating_point() else x for name, x in given.items()}
    )
    assert value.dtype == torch.float32 and torch.isfinite(student.grad).all()
    torch.testing.assert_close(value, expected)


@every_loss
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_loss_under_autocast_is_close_to_float32(name, dtype):
    """On maps of realistic size.

    Losses with trained convolutions, except the critic, differ by at most 0.1 % in the value and 5 % in the gradient.
    All others compute in float32 and differ by at most 1e-6.
    """
    gt = torch.zeros(1, 256, 256, dtype=torch.long)
    gt[:, 100:] = 1
    gt[:, :, 90:] = 2
    given = {name: torch.randn(1, x.shape[1], 64, 64) for name, x in catalog.records().items()}
    given['gt'] = gt
    loss = LOSSES[name]()
    student = catalog.student_record(loss, given)
    student.requires_grad_()
    expected = catalog.value(loss, given)
    (expected_grad,) = torch.autograd.grad(expected, student)
    with torch.autocast('cpu', dtype=dtype):
        value = catalog.value(loss, given)
    grad = torch.autograd.grad(1024 * value, student)[0] / 1024  # mixed precision scales the loss
    convolves = any(isinstance(module, torch.nn.Conv2d) for module in loss.modules()) and name != 'critic'
    distance = (grad - expected_grad).norm() / expected_grad.norm()
    assert value.item() == pytest.approx(expected.item(), rel=1e-3 if convolves else 1e-6)
    assert distance < (0.05 if convolves else 1e-6)


@every_loss
def test_float64_records_give_a_float64_loss(name):
    assert catalog.value(LOSSES[name]().double(), catalog.records()).dtype == torch.float64


@pytest.mark.parametrize(
    'name', [name for name in LOSSES if 'preds_S' in catalog.arguments(LOSSES[name](), catalog.records())]
)
def test_different_numbers_of_classes_are_an_error_that_states_both_shapes(name):
    given = catalog.records()
    given['preds_T'] = given['preds_T'][:, :2]
    with pytest.raises(ValueError, match=r'\(2, 3, 4, 5\).*\(2, 2, 4, 5\)'):
        catalog.value(LOSSES[name](), given)


RECENT = [
    'lskd',
    'bpkd with standardized logits',
    'nfd',
    'aicsd',
    'aicsd with normalized rows',
    'kt channel',
    'kt channel, l1',
    'kt channel, huber',
    'wavelet',
]


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize('constant', ['student', 'teacher', 'both'])
@pytest.mark.parametrize('fill', [0.0, 0.1, 30.0])
@pytest.mark.parametrize('name', RECENT)
def test_value_and_gradient_are_finite_for_constant_maps(name, fill, constant, dtype):
    loss, given = catalog.LOSSES[name](), catalog.records(dtype)
    for record, x in given.items():
        if record.endswith(dict(student='_S', teacher='_T', both=('_S', '_T'))[constant]):
            x.fill_(fill)
    student = catalog.student_record(loss, given)
    student.requires_grad_()
    value = catalog.value(loss, given)
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(student.grad).all()


@pytest.mark.parametrize('name', RECENT)
def test_the_loss_is_a_mean_over_the_images(name, given):
    """So two processes with half of the batch each have the gradient of one."""
    loss = catalog.LOSSES[name]()
    halves = [{key: x[i : i + 1] for key, x in given.items()} for i in (0, 1)]
    expected = sum(catalog.value(loss, half) for half in halves) / 2
    torch.testing.assert_close(catalog.value(loss, given), expected)


@pytest.mark.parametrize('module', ['functional', 'nfd', 'aicsd', 'kt_channel', 'wavelet'])
def test_examples_in_docstrings_print_what_they_say(module):
    results = doctest.testmod(import_module(f'mmseg_bpkd.models.losses.{module}'))
    assert results.attempted > 0 and results.failed == 0
