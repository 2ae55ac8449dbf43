"""Settings that make a step faster do not change its losses and gradients."""

import copy

import pytest
import tiny
import torch
from mmengine.model import BaseModel
from mmseg.models import SegDataPreProcessor
from test_configs import load, named
from torch import nn

from mmseg_bpkd.models.algorithms.folding import fold_batch_norm
from mmseg_bpkd.models.segmentors import build_segmentor, resolve_segmentor


@pytest.fixture(scope='module')
def teacher_ckpt(tmp_path_factory) -> str:
    return tiny.save_teacher(tmp_path_factory.mktemp('teacher') / 'teacher.pth')


def losses_and_gradients(model) -> tuple:
    for module in model.modules():
        if isinstance(module, nn.Dropout2d):
            module.p = 0.0  # the memory format decides which channels are dropped
    losses = tiny.losses_of(model.train())
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    return losses, {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize(
    'setting', [dict(), dict(channels_last=True), dict(fold_teacher=False, channels_last=True)], ids=str
)
def test_losses_and_gradients_are_the_same(teacher_ckpt, setting):
    losses, gradients = losses_and_gradients(tiny.distillation(teacher_ckpt, fold_teacher=False))
    fast_losses, fast_gradients = losses_and_gradients(tiny.distillation(teacher_ckpt, **setting))
    assert fast_losses.keys() == losses.keys()
    for key in losses:
        torch.testing.assert_close(fast_losses[key], losses[key], rtol=1e-4, atol=1e-5)
    for name in gradients:
        torch.testing.assert_close(fast_gradients[name], gradients[name], rtol=1e-3, atol=1e-4)


def test_without_early_gradients_the_heads_are_unchanged_and_the_losses_are_the_same(teacher_ckpt):
    early = tiny.distillation(teacher_ckpt)
    plain = tiny.distillation(teacher_ckpt, early_gradients=False)
    for model, replaced in ((early, True), (plain, False)):
        heads = (model.student.decode_head, model.student.auxiliary_head)
        assert ['loss_by_feat' in vars(head) for head in heads] == [replaced, replaced]
    losses, gradients = losses_and_gradients(plain)
    early_losses, early_gradients = losses_and_gradients(early)
    assert early_losses.keys() == losses.keys() and early_gradients.keys() == gradients.keys()
    for key in losses:
        torch.testing.assert_close(early_losses[key].mean(), losses[key].mean(), rtol=1e-4, atol=1e-5)
    for name in gradients:
        torch.testing.assert_close(early_gradients[name], gradients[name], rtol=1e-3, atol=1e-4)
    assert max(gradient.abs().max() for gradient in gradients.values()) > 1e-2


def recorded(model) -> dict:
    """What the losses get of the teacher and the student, and the gradients of the student."""
    arguments, original = {}, model.distiller._arguments

    def keep(name, gt):
        arguments.update(original(name, gt))
        return original(name, gt)

    model.distiller._arguments = keep
    return dict(arguments=arguments, losses=losses_and_gradients(model)[0])


LOSSES = dict(loss_kd=dict(type='KDLoss'), loss_apd=dict(type='APDLoss'), loss_cirkd=dict(type='CIRKDLoss'))


def test_a_teacher_in_bfloat16_leaves_the_student_as_it_is_and_its_records_are_float32(teacher_ckpt):
    expected = recorded(tiny.distillation(teacher_ckpt, LOSSES))
    model = tiny.distillation(teacher_ckpt, LOSSES, teacher_dtype='bfloat16')
    found = recorded(model)
    assert {m.weight.dtype for m in model.teacher.modules() if isinstance(m, nn.Conv2d)} == {torch.bfloat16}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    for name, value in found['arguments'].items():
        if not name.endswith('_T'):
            assert torch.equal(value, expected['arguments'][name]), name
        else:
            assert value.dtype == torch.float32 and not torch.equal(value, expected['arguments'][name])
            scale = expected['arguments'][name].abs().max().item()
            torch.testing.assert_close(value, expected['arguments'][name], atol=0.02 * scale, rtol=0)
    for name, value in found['losses'].items():
        if name.startswith('student'):
            assert torch.equal(value, expected['losses'][name]), name


def test_a_teacher_stays_in_float32_in_mixed_precision_if_this_is_asked_for(teacher_ckpt):
    expected = recorded(tiny.distillation(teacher_ckpt))['arguments']['preds_T']
    as_the_student, of_its_own = (tiny.distillation(teacher_ckpt, teacher_dtype=dtype) for dtype in (None, 'float32'))
    with torch.autocast('cpu', torch.bfloat16):
        mixed, own = (recorded(model)['arguments']['preds_T'] for model in (as_the_student, of_its_own))
    assert torch.equal(own, expected) and not torch.equal(mixed.float(), expected)


def test_an_unknown_precision_of_the_teacher_is_an_error(teacher_ckpt):
    with pytest.raises(ValueError, match="teacher_dtype must be one of bfloat16, float16, float32, got 'half'"):
        tiny.distillation(teacher_ckpt, teacher_dtype='half')


def norms(model) -> list:
    return [module for module in model.modules() if 'BatchNorm' in type(module).__name__]


def test_only_folding_is_on_by_default(teacher_ckpt):
    model = tiny.distillation(teacher_ckpt)
    assert not norms(model.teacher) and norms(model.student)
    assert not any(parameter.requires_grad for parameter in model.teacher.parameters())
    assert next(model.student.parameters()).is_contiguous() and not model.compiled


def test_a_teacher_stays_as_it_was_if_it_is_asked_for_or_was_built_before(teacher_ckpt):
    assert norms(tiny.distillation(teacher_ckpt, fold_teacher=False).teacher)
    teacher = build_segmentor(resolve_segmentor(tiny.pspnet(8), 3, tiny.PREPROCESSOR))
    assert tiny.distillation(None, teacher=teacher).teacher is teacher and norms(teacher)


@pytest.mark.parametrize(
    ('kind', 'source'),
    [
        ('ModuleOutputs', 'backbone.layer4.1.conv1'),
        ('ModuleOutputs', 'backbone.layer4.1.bn1'),
        ('ModuleInputs', 'backbone.layer4.1.bn1'),
    ],
)
def test_what_is_recorded_between_a_convolution_and_its_norm_is_not_changed(teacher_ckpt, kind, source):
    recorder = dict(inner=dict(type=kind, source=source))
    element = dict(data_idx=0) if kind == 'ModuleInputs' else {}
    distiller = dict(
        type='SegDistiller',
        losses=dict(loss_cwd=dict(type='CWDLoss')),
        student_recorders=recorder,
        teacher_recorders=recorder,
        loss_forward_mappings=dict(
            loss_cwd={f'preds_{side}': dict(recorder='inner', from_student=side == 'S', **element) for side in 'ST'}
        ),
    )
    same = dict(distiller=distiller, student=tiny.pspnet(8))
    records, left = [], []
    for fold in (True, False):
        model = tiny.distillation(teacher_ckpt, fold_teacher=fold, **same)
        with torch.no_grad(), model.distiller.teacher_recorders:
            model.teacher(model.data_preprocessor(tiny.batch(), True)['inputs'], mode='tensor')
        records.append(model.distiller.teacher_recorders.get_recorder('inner').get_record_data(**element))
        left.append(len(norms(model.teacher)))
    torch.testing.assert_close(*records, rtol=1e-4, atol=1e-5)
    assert left[0] == 1 < left[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    'pair',
    [
        'fcn-hr48_fcn-hr18s',
        'deeplabv3plus-r101_deeplabv3plus-mv2',
        'isanet-r101_isanet-r18',
        'pspnet-r101_pspnet-r18',
        'upernet-swin-b_upernet-swin-t',
        'upernet-deit-adapter-b_upernet-deit-adapter-t',
    ],
)
def test_the_students_of_the_recipes_can_be_folded_too(pair):
    """The students stand for the teachers, which have the same architecture and take longer to build."""
    cfg = load(named(f'bpkd_{pair}_4xb4-80k_ade20k')[0])
    model = build_segmentor(resolve_segmentor(cfg.model.student, 150, cfg.model.data_preprocessor)).eval()
    for module in model.modules():
        if hasattr(module, 'running_mean'):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    image = torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        expected = model(image, mode='tensor')
        fold_batch_norm(model)
        torch.testing.assert_close(model(image, mode='tensor'), expected, rtol=1e-3, atol=1e-4)


class OneSize(BaseModel):
    """Accepts images of 32x64 only, as some transformers do. It returns the values as one row."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__(SegDataPreProcessor(size=(32, 64)))
        self.conv, self.norm = nn.Conv2d(3, 3, 1), norm
        self.decode_head = nn.Sequential(nn.Flatten(2), nn.Unflatten(2, (1, 32 * 64)))

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.decode_head(self.extract_feat(inputs))

    def extract_feat(self, inputs):
        return self.norm(self.conv(inputs))


def test_a_network_is_tried_on_an_image_of_its_own_size():
    assert fold_batch_norm(OneSize(nn.BatchNorm2d(3))) == 1


@pytest.mark.parametrize('norm', [nn.BatchNorm2d(3, affine=False), nn.BatchNorm2d(3, track_running_stats=False)])
def test_a_norm_that_cannot_be_folded_is_left_as_it_is(norm):
    model = OneSize(norm)
    assert fold_batch_norm(model) == 0 and norms(model) == [norm]


def test_channels_last_reaches_both_networks(teacher_ckpt):
    model = tiny.distillation(teacher_ckpt, channels_last=True)
    for network in (model.teacher, model.student):
        assert network.backbone.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    seen = []
    for network in (model.teacher, model.student):
        network.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    tiny.losses_of(model.train())
    assert [x.is_contiguous(memory_format=torch.channels_last) for x in seen] == [True, True]
    assert copy.deepcopy(model).student.backbone.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)


def test_only_teacher_and_student_can_be_compiled(teacher_ckpt):
    with pytest.raises(ValueError, match=r"compile_networks must name 'teacher', 'student' or both, got \['decoder'\]"):
        tiny.distillation(teacher_ckpt, compile_networks=['decoder'])


@pytest.mark.slow
def test_compiled_networks_give_the_same_losses(teacher_ckpt):
    losses, gradients = losses_and_gradients(tiny.distillation(teacher_ckpt))
    fast_losses, fast_gradients = losses_and_gradients(
        tiny.distillation(teacher_ckpt, compile_networks=['teacher', 'student'])
    )
    for key in losses:
        torch.testing.assert_close(fast_losses[key], losses[key], rtol=1e-4, atol=1e-5)
    for name in gradients:
        torch.testing.assert_close(fast_gradients[name], gradients[name], rtol=1e-3, atol=1e-4)
