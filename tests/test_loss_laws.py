"""What holds for every registered loss."""

import catalogue
import oracles
import pytest
import torch
from catalogue import DIVERGENCES, LOSSES
from mmengine.registry import MODELS

from mmseg_bpkd import losses

every_loss = pytest.mark.parametrize('name', LOSSES)


def test_every_registered_loss_is_in_the_catalogue():
    registered = {name for name, cls in MODELS.module_dict.items() if cls.__module__.startswith('mmseg_bpkd.losses')}
    assert {type(make()).__name__ for make in LOSSES.values()} == registered == set(losses.__all__)


@pytest.mark.parametrize('name', DIVERGENCES)
def test_a_student_that_agrees_with_the_teacher_costs_nothing(name):
    loss, given = LOSSES[name](), catalogue.like_the_teacher(catalogue.records())
    if loss.align:
        given['feats_T'] = catalogue.arguments(loss, given)['feats_S']
    student = catalogue.students_tensor(loss, given)
    student.requires_grad_()
    value = catalogue.value(loss, given)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-12) and student.grad.abs().max() < 1e-10


@pytest.mark.parametrize('name', [name for name in LOSSES if name != 'critic'])
def test_gradients_are_those_of_the_value(name):
    """The critic's is reversed for the student: tested with the critic."""
    loss, given = LOSSES[name]().double(), catalogue.records()
    student = catalogue.students_tensor(loss, given)

    def value(x):
        return catalogue.value(loss, {key: x if y is student else y for key, y in given.items()})

    assert torch.autograd.gradcheck(value, (student.requires_grad_(),))


@every_loss
def test_the_teacher_gets_no_gradient_and_the_student_does(name):
    loss, given = LOSSES[name]().double(), catalogue.records()
    student = catalogue.students_tensor(loss, given)
    student.requires_grad_()
    teachers = [x for name, x in given.items() if name.endswith('_T')]
    for x in teachers:
        x.requires_grad_()
    catalogue.value(loss, given).backward()
    assert all(x.grad is None for x in teachers) and student.grad.abs().sum() > 0


@every_loss
def test_every_trained_part_gets_a_gradient(name):
    loss, given = LOSSES[name]().double(), catalogue.records()
    student = catalogue.students_tensor(loss, given)
    student.requires_grad_()
    loss(**catalogue.arguments(loss, given)).backward()
    without = [part for part, parameter in loss.named_parameters() if parameter.grad is None]
    assert not without


@every_loss
@pytest.mark.parametrize('fill', [0, 1, oracles.VOID])
def test_an_image_of_one_class_or_of_void_gives_a_finite_value_and_gradient(name, fill):
    loss, given = LOSSES[name]().double(), catalogue.records()
    given['gt'].fill_(fill)
    student = catalogue.students_tensor(loss, given)
    student.requires_grad_()
    value = catalogue.value(loss, given)
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(student.grad).all()


@pytest.mark.parametrize(
    ('name', 'term'),
    [('bpkd', 'edge'), ('ifvd', None), ('apd', 'centre'), ('apd', 'teacher'), ('cirkd', 'pixel'), ('cirkd', 'region')],
)
def test_void_is_inert_in_the_terms_that_take_the_label(name, term):
    """In eval mode: as in any network, batch norm (in CIRKD's projector) sees all of an image."""
    loss, given = LOSSES[name]().double().eval(), catalogue.records()

    def value():
        torch.manual_seed(5)
        taken = catalogue.arguments(loss, given)
        return loss.terms(**taken)[term] if term else loss(**taken)

    if name == 'bpkd':
        loss = catalogue.made('BPKDLoss', kernel_size=3)
    if name == 'cirkd':
        value()  # fills the memories, from which void must not be drawn either
        loss._remember = lambda *_: None
    before = value()
    for side in 'ST':
        for record in ('preds', 'feats'):
            given[f'{record}_{side}'][:, :, 0, 0] += 100  # the cell of the 2x2 void pixels
    assert before > 0
    torch.testing.assert_close(value(), before)


@pytest.mark.parametrize('name', [name for name in LOSSES if not list(LOSSES[name]().parameters())])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_what_is_recorded_in_half_precision_is_raised_to_float32(name, dtype):
    """Logits of an overconfident network, and features whose squares half precision cannot hold.

    Losses with trained parts, which are float32, take half precision under autocast only: the next test.
    """
    loss, given = LOSSES[name](), catalogue.records(dtype)
    for name, x in given.items():
        given[name] = x * (300 if 'feats' in name else 40) if x.is_floating_point() else x
    student = catalogue.students_tensor(loss, given)
    value = catalogue.value(loss, given)
    student.requires_grad_()
    catalogue.value(loss, given).backward()
    expected = catalogue.value(
        loss, {name: x.detach().float() if x.is_floating_point() else x for name, x in given.items()}
    )
    assert value.dtype == torch.float32 and torch.isfinite(student.grad).all()
    torch.testing.assert_close(value, expected)


@every_loss
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_autocast_stays_near_float32(name, dtype):
    """On maps of real size: equal without trained convolutions; value within 0.1 % and gradient within 5 % with."""
    gt = torch.zeros(1, 256, 256, dtype=torch.long)
    gt[:, 100:] = 1
    gt[:, :, 90:] = 2
    given = {name: torch.randn(1, x.shape[1], 64, 64) for name, x in catalogue.records().items()}
    given['gt'] = gt
    loss = LOSSES[name]()
    student = catalogue.students_tensor(loss, given)
    student.requires_grad_()
    expected = catalogue.value(loss, given)
    (expected_grad,) = torch.autograd.grad(expected, student)
    with torch.autocast('cpu', dtype=dtype):
        value = catalogue.value(loss, given)
    grad = torch.autograd.grad(1024 * value, student)[0] / 1024  # mixed precision scales the loss
    convolves = any(isinstance(module, torch.nn.Conv2d) for module in loss.modules()) and name != 'critic'
    distance = (grad - expected_grad).norm() / expected_grad.norm()
    assert value.item() == pytest.approx(expected.item(), rel=1e-3 if convolves else 1e-6)
    assert distance < (0.05 if convolves else 1e-6)


@every_loss
def test_float64_stays(name):
    assert catalogue.value(LOSSES[name]().double(), catalogue.records()).dtype == torch.float64


@pytest.mark.parametrize(
    'name', [name for name in LOSSES if 'preds_S' in catalogue.arguments(LOSSES[name](), catalogue.records())]
)
def test_another_number_of_classes_is_an_error_with_both_shapes(name):
    given = catalogue.records()
    given['preds_T'] = given['preds_T'][:, :2]
    with pytest.raises(ValueError, match=r'\(2, 3, 4, 5\).*\(2, 2, 4, 5\)'):
        catalogue.value(LOSSES[name](), given)
