"""Losses can read the auxiliary heads of student and teacher. The teacher's exists only for a loss that reads it."""

import copy
import os.path as osp
from glob import glob

import oracles
import pytest
import tiny
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import MODELS
from mmseg.models import FCNHead
from test_docs import python_blocks
from test_fast_settings import losses_and_gradients
from test_one_channel import batch as binary_batch
from test_one_channel import pspnet

from mmseg_bpkd.config.methods import known_methods
from mmseg_bpkd.models.losses import DistillLoss, KDLoss
from mmseg_bpkd.models.segmentors import build_segmentor, forward_heads, resolve_segmentor

RECEIVED = {}
DIST = Config.fromfile(f'{ROOT}/configs/_base_/distillers/dist.py').distiller.to_dict()
AUX_PREDS = {f'preds_{side}': dict(recorder='aux_preds', from_student=side == 'S') for side in 'ST'}


@MODELS.register_module()
class SpyAuxiliaryLoss(DistillLoss):
    """Stores its arguments."""

    any_width = True

    def forward(self, preds_S, aux_preds_S, aux_preds_T, aux_feats_S, aux_feats_T):
        RECEIVED.update(locals())
        return 0 * aux_preds_S.sum()


@MODELS.register_module()
class StudentAuxiliaryLoss(DistillLoss):
    def forward(self, aux_preds_S, preds_T):
        return aux_preds_S.square().mean()


@MODELS.register_module()
class NormLastHead(FCNHead):
    """Calls its norm after the activation, so it cannot be folded into the convolution."""

    def _forward_feature(self, inputs):
        part = self.convs[0]
        return part.norm(part.activate(part.conv(self._transform_inputs(inputs))))


SPY = dict(loss_spy=dict(type='SpyAuxiliaryLoss'))


@pytest.fixture(scope='module')
def teacher_ckpt(tmp_path_factory) -> str:
    return tiny.save_teacher(tmp_path_factory.mktemp('teacher') / 'teacher.pth')


def distiller(**settings) -> dict:
    return dict(distiller=dict(type='SegDistiller', **settings))


def on_auxiliary_heads(**losses) -> dict:
    return distiller(losses=losses, loss_forward_mappings=dict.fromkeys(losses, AUX_PREDS))


def without_dropout(model):
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout2d):
            module.p = 0.0
    return model


def plain_teacher(teacher_ckpt: str, **changes):
    """The teacher as MMSegmentation builds it, with the weights of the checkpoint."""
    teacher = build_segmentor(resolve_segmentor(tiny.pspnet(8, **changes), 3, tiny.PREPROCESSOR))
    teacher.load_state_dict(torch.load(teacher_ckpt)['state_dict'])
    return teacher.eval()


def outputs(network, inputs) -> dict:
    """{record: tensor} of the two heads, from their own forward functions."""
    with torch.no_grad():
        stages = network.extract_feat(inputs)
        return dict(
            preds=network.decode_head.forward(stages),
            aux_preds=network.auxiliary_head.forward(stages),
            aux_feats=network.auxiliary_head._forward_feature(stages),
        )


def test_the_records_are_what_the_auxiliary_heads_compute(teacher_ckpt):
    model = without_dropout(tiny.distillation(teacher_ckpt, SPY, fold_teacher=False).train())
    student, data = copy.deepcopy(model.student), model.data_preprocessor(tiny.batch(), True)
    model(**data, mode='loss')
    expected_S = outputs(student, data['inputs'])
    expected_T = outputs(plain_teacher(teacher_ckpt), data['inputs'])
    for name in ('aux_preds', 'aux_feats'):
        assert torch.equal(RECEIVED[f'{name}_S'], expected_S[name]) and RECEIVED[f'{name}_S'].requires_grad
        assert torch.equal(RECEIVED[f'{name}_T'], expected_T[name]) and not RECEIVED[f'{name}_T'].requires_grad
    assert torch.equal(RECEIVED['preds_S'], expected_S['preds'])
    assert RECEIVED['aux_preds_T'].shape == (2, 3, 4, 4) and RECEIVED['aux_feats_T'].shape == (2, 8, 4, 4)


def test_each_network_runs_its_backbone_and_its_auxiliary_head_once(teacher_ckpt):
    model, calls = tiny.distillation(teacher_ckpt, SPY).train(), []
    for side, network in (('S', model.student), ('T', model.teacher)):
        for name in ('backbone', 'auxiliary_head.conv_seg', 'decode_head.conv_seg'):
            hook = lambda *_, call=(side, name): calls.append(call)  # noqa: E731
            network.get_submodule(name).register_forward_hook(hook)
    tiny.losses_of(model)
    assert len(calls) == len(set(calls)) == 6


@pytest.mark.parametrize('losses', [dict(loss_kd=dict(type='KDLoss')), dict(loss_x=dict(type='StudentAuxiliaryLoss'))])
def test_the_teacher_has_no_auxiliary_head_unless_a_loss_reads_it(teacher_ckpt, losses):
    model = tiny.distillation(teacher_ckpt, losses)
    assert not model.teacher.with_auxiliary_head and not model.teacher_auxiliary
    tiny.losses_of(model)


def test_the_weights_of_the_teachers_auxiliary_head_are_those_of_the_checkpoint(teacher_ckpt):
    state = tiny.distillation(teacher_ckpt, distiller=DIST, fold_teacher=False).teacher.state_dict()
    expected = torch.load(teacher_ckpt)['state_dict']
    assert state.keys() == expected.keys() and any(key.startswith('auxiliary_head.') for key in state)
    assert all(torch.equal(value, expected[key]) for key, value in state.items())


def test_a_teacher_that_is_already_built_runs_its_auxiliary_head_only_for_a_loss_that_reads_it(teacher_ckpt):
    for changes, expected in ((dict(losses=dict(loss_kd=dict(type='KDLoss'))), 0), (dict(distiller=DIST), 1)):
        teacher, calls = plain_teacher(teacher_ckpt), []
        teacher.auxiliary_head.conv_seg.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        tiny.losses_of(tiny.distillation(None, teacher=teacher, **changes))
        assert len(calls) == expected


def test_dist_is_the_sum_of_its_terms_on_both_heads(teacher_ckpt):
    model = without_dropout(tiny.distillation(teacher_ckpt, distiller=DIST).double().train())
    student, data = copy.deepcopy(model.student), model.data_preprocessor(tiny.batch(), True)
    losses = model(**data, mode='loss')
    total = sum(value for key, value in losses.items() if key.startswith('distill.'))
    S, T = outputs(student, data['inputs']), outputs(plain_teacher(teacher_ckpt).double(), data['inputs'])
    pairs = [side[name].numpy() for name in ('preds', 'aux_preds') for side in (S, T)]
    # The folded teacher differs by rounding of its weights to float32.
    assert total.item() == pytest.approx(oracles.dist(*pairs), rel=1e-4)
    assert [key for key in losses if key.startswith('distill.')] == [
        f'distill.loss_dist{part}_{term}' for part in ('', '_aux') for term in ('inter', 'intra')
    ]


def test_the_gradient_of_the_auxiliary_term_reaches_the_students_auxiliary_head_and_not_its_decode_head(teacher_ckpt):
    model = tiny.distillation(teacher_ckpt, **on_auxiliary_heads(loss_kd=dict(type='KDLoss'))).train()
    tiny.losses_of(model)['distill.loss_kd'].backward()
    student = model.student
    assert all(parameter.grad.abs().max() > 0 for parameter in student.auxiliary_head.conv_seg.parameters())
    assert student.backbone.stem[0].weight.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in student.decode_head.parameters())
    assert all(parameter.grad is None for parameter in student.backbone.layer4.parameters())  # behind the head's input


def test_early_gradients_leave_the_gradients_of_the_auxiliary_head_as_they_are(teacher_ckpt):
    weight = dict(type='KDLoss', weight=10.0)
    models = [
        tiny.distillation(teacher_ckpt, early_gradients=early, **on_auxiliary_heads(loss_kd=weight))
        for early in (True, False)
    ]
    (losses, gradients), (plain_losses, plain_gradients) = map(losses_and_gradients, models)
    assert ['loss_by_feat' in vars(model.student.auxiliary_head) for model in models] == [True, False]
    torch.testing.assert_close(losses['distill.loss_kd'], plain_losses['distill.loss_kd'])
    for name, gradient in plain_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-3, atol=1e-4)
    assert plain_gradients['architecture.auxiliary_head.conv_seg.weight'].abs().max() > 1e-2


def test_under_autocast_the_terms_are_finite_float32(teacher_ckpt):
    model = tiny.distillation(teacher_ckpt, distiller=DIST).train()
    full = tiny.losses_of(without_dropout(model))
    with torch.autocast('cpu', torch.bfloat16):
        half = tiny.losses_of(model)
    for term in ('inter', 'intra'):
        value = half[f'distill.loss_dist_aux_{term}']
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, full[f'distill.loss_dist_aux_{term}'], rtol=0.05, atol=0.01)


# Folding


def test_a_folded_auxiliary_head_gives_the_same_logits(teacher_ckpt):
    model = tiny.distillation(teacher_ckpt, SPY)
    assert not [module for module in model.teacher.modules() if 'BatchNorm' in type(module).__name__]
    data = model.data_preprocessor(tiny.batch(), True)
    model(**data, mode='loss')
    expected = outputs(plain_teacher(teacher_ckpt), data['inputs'])
    for name in ('aux_preds', 'aux_feats'):
        torch.testing.assert_close(RECEIVED[f'{name}_T'], expected[name], rtol=1e-3, atol=1e-4)


def test_a_norm_that_does_not_follow_a_convolution_of_the_auxiliary_head_is_left_as_it_is(teacher_ckpt):
    teacher = tiny.pspnet(8)
    teacher['auxiliary_head'] = dict(teacher['auxiliary_head'], type='NormLastHead')
    model = tiny.distillation(teacher_ckpt, SPY, teacher=teacher)
    norms = [name for name, module in model.teacher.named_modules() if 'BatchNorm' in type(module).__name__]
    assert norms and all(name.startswith('auxiliary_head.') for name in norms)


def test_the_logits_of_a_cascade_with_an_auxiliary_head_are_those_of_mmsegmentation():
    def head(**settings):
        return dict(dict(type='FCNHead', in_channels=16, channels=4, num_convs=1, in_index=-1), **settings)

    last = head(type='OCRHead', ocr_channels=4)
    last.pop('num_convs')
    model = build_segmentor(
        resolve_segmentor(
            tiny.pspnet(
                2,
                type='CascadeEncoderDecoder',
                num_stages=2,
                decode_head=[head(), last],
                auxiliary_head=[head(in_channels=8, in_index=2), head(in_channels=4, in_index=1)],
            ),
            3,
            tiny.PREPROCESSOR,
        )
    ).eval()
    image = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        logits, *auxiliary = forward_heads(model, image)
        stages = model.extract_feat(image)
        assert torch.equal(logits, model(image, mode='tensor'))
        assert len(auxiliary) == 2 and len(forward_heads(model, image, auxiliary=False)) == 1
        assert all(torch.equal(a, head(stages)) for a, head in zip(auxiliary, model.auxiliary_head))


# None or several


@pytest.mark.parametrize('side', ['student', 'teacher'])
def test_a_network_without_an_auxiliary_head_is_an_error_that_names_record_and_network(teacher_ckpt, side):
    network = {side: tiny.pspnet(4 if side == 'student' else 8, auxiliary_head=None)}
    with pytest.raises(
        ValueError,
        match=rf'loss_dist_aux reads the record aux_preds_{side[0].upper()}, but the {side} \(EncoderDecoder with '
        rf'ResNetV1c\) has no auxiliary head: add auxiliary_head to model.{side}, or leave out loss_dist_aux '
        r'\(DIST: --method variants/dist_no_aux\)$',
    ):
        tiny.distillation(teacher_ckpt, distiller=DIST, **network)


def test_the_variant_that_the_error_names_exists():
    assert 'variants/dist_no_aux' in known_methods()


def test_a_checkpoint_without_the_auxiliary_head_is_an_error_that_says_why_it_is_needed(teacher_ckpt, tmp_path):
    state = torch.load(teacher_ckpt)['state_dict']
    path = str(tmp_path / 'deployed.pth')
    torch.save({key: value for key, value in state.items() if not key.startswith('auxiliary_head.')}, path)
    tiny.distillation(path)
    with pytest.raises(ValueError, match=r'deployed.pth.* has no weights of an auxiliary head, but a loss reads'):
        tiny.distillation(path, distiller=DIST)


@pytest.fixture(scope='module')
def several(tmp_path_factory) -> dict:
    """Teacher, its checkpoint, and student with two auxiliary heads."""

    def network(width: int) -> dict:
        heads = [
            dict(type='FCNHead', in_channels=2**index * width, channels=channels, num_convs=1, in_index=index)
            for index, channels in ((2, width), (1, width // 2))
        ]
        return tiny.pspnet(width, auxiliary_head=heads)

    torch.manual_seed(7)
    teacher = build_segmentor(resolve_segmentor(network(8), 3, tiny.PREPROCESSOR))
    path = str(tmp_path_factory.mktemp('several') / 'teacher.pth')
    torch.save(dict(state_dict=teacher.state_dict()), path)
    return dict(teacher_ckpt=path, teacher=network(8), student=network(4))


def test_of_several_auxiliary_heads_the_first_is_recorded(several):
    model = without_dropout(tiny.distillation(losses=SPY, **several).train())
    recorders = (model.distiller.student_recorders, model.distiller.teacher_recorders)
    assert {each.get_recorder('aux_preds').source for each in recorders} == {'auxiliary_head.0.conv_seg'}
    student, data = copy.deepcopy(model.student), model.data_preprocessor(tiny.batch(), True)
    model(**data, mode='loss')
    with torch.no_grad():
        expected = student.auxiliary_head[0].forward(student.extract_feat(data['inputs']))
    assert torch.equal(RECEIVED['aux_preds_S'], expected)
    assert RECEIVED['aux_feats_T'].shape[1] == 8  # the second has 4


def test_a_recorder_of_ones_own_reads_another_auxiliary_head(several):
    recorder = dict(second=dict(type='ModuleOutputs', source='auxiliary_head.1.conv_seg'))
    mapping = {side: dict(mapping, recorder='second') for side, mapping in AUX_PREDS.items()}
    settings = distiller(
        losses=dict(loss_kd=dict(type='KDLoss')),
        student_recorders=recorder,
        teacher_recorders=recorder,
        loss_forward_mappings=dict(loss_kd=mapping),
    )
    model = tiny.distillation(**several, **settings).train()
    tiny.losses_of(model)['distill.loss_kd'].backward()
    first, second = model.student.auxiliary_head
    assert first.conv_seg.weight.grad is None and second.conv_seg.weight.grad.abs().max() > 0


# Other losses


def test_an_auxiliary_head_with_one_channel_becomes_two_classes():
    networks = {
        name: build_segmentor(resolve_segmentor(pspnet(width, 1), 2, tiny.PREPROCESSOR))
        for name, width in (('student', 4), ('teacher', 8))
    }
    model = without_dropout(tiny.distillation(None, SPY, num_classes=2, **networks).train())
    student, data = copy.deepcopy(model.student), model.data_preprocessor(binary_batch(), True)
    model(**data, mode='loss')
    for side, network in (('S', student), ('T', model.teacher)):
        z = outputs(network, data['inputs'])['aux_preds']
        assert z.shape[1] == 1
        torch.testing.assert_close(RECEIVED[f'aux_preds_{side}'], torch.cat([-z / 2, z / 2], dim=1))


def test_another_number_of_classes_is_refused_as_for_the_decode_head(teacher_ckpt):
    fit = tiny.distillation(teacher_ckpt, dict(loss_x=dict(type='KDLoss'))).distiller._fit
    with pytest.raises(ValueError, match='aux_preds is .* different numbers of classes'):
        fit('loss_x', 'aux_preds', torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4, 4))


def test_an_aligner_on_auxiliary_features_has_their_widths(teacher_ckpt):
    mapping = {f'feats_{side}': dict(recorder='aux_feats', from_student=side == 'S', data_idx=0) for side in 'ST'}
    settings = distiller(
        losses=dict(loss_cwd=dict(type='CWDFeatureLoss')), loss_forward_mappings=dict(loss_cwd=mapping)
    )
    model = tiny.distillation(teacher_ckpt, **settings).train()
    assert torch.isfinite(tiny.losses_of(model)['distill.loss_cwd'])
    assert model.distiller.connectors['loss_cwd_feats_S'].conv_module.conv.weight.shape == (8, 4, 1, 1)


def test_the_example_of_the_docs_distils_the_auxiliary_head_with_another_loss(teacher_ckpt):
    (block,) = [block for block in python_blocks('docs/methods.md') if 'aux_preds' in block]
    example = {}
    exec(block, example)
    model = without_dropout(tiny.distillation(teacher_ckpt, distiller=example['distiller']).train())
    student, data = copy.deepcopy(model.student), model.data_preprocessor(tiny.batch(), True)
    losses = model(**data, mode='loss')
    S, T = outputs(student, data['inputs']), outputs(plain_teacher(teacher_ckpt), data['inputs'])
    for name, record, weight in (('loss_kd', 'preds', 1), ('loss_kd_aux', 'aux_preds', 0.4)):
        expected = weight * KDLoss()(S[record], T[record])
        torch.testing.assert_close(losses[f'distill.{name}'], expected, rtol=1e-3, atol=1e-5)


def test_only_the_pairs_of_hrnet_have_no_auxiliary_heads():
    """docs/methods.md says that these need variants/dist_no_aux.py."""
    pairs = {osp.basename(path).rpartition('_')[0]: path for path in glob(f'{ROOT}/configs/_base_/pairs/*.py')}
    without = set()
    for pair, path in pairs.items():  # the data set does not change the heads
        model = Config.fromfile(path).model
        if not all(resolve_segmentor(model[side]).get('auxiliary_head') for side in ('teacher', 'student')):
            without.add(pair)
    assert without == {'fcn-hr48_fcn-hr18s'}
