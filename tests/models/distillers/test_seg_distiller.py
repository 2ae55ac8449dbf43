"""SegDistiller passes each loss the right records, in the right size and width, and refuses wrong settings."""

import mmrazor.models.losses
import pytest
import tiny
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS
from mmseg.models.utils import resize
from torch import nn

from mmseg_bpkd.models import losses
from mmseg_bpkd.models.distillers import SegDistiller
from mmseg_bpkd.models.losses import DistillLoss

RECEIVED = {}


@MODELS.register_module()
class SpyLoss(nn.Module):
    """Stores its arguments."""

    def forward(self, preds_S, preds_T, feats_S, feats_T, backbone_S, backbone_T, gt, optional=None):
        RECEIVED.update(locals())
        return 0 * preds_S.sum()


@MODELS.register_module()
class SpyFeatureLoss(DistillLoss):
    any_width = True

    def forward(self, feats_S, feats_T):
        RECEIVED.update(locals())
        return 0 * feats_S.sum()


@MODELS.register_module()
class UnknownArgumentLoss(nn.Module):
    def forward(self, preds_S, attention_T):
        pass


@MODELS.register_module()
class LastStageLoss(SpyFeatureLoss):
    align = True

    def forward(self, backbone_S, backbone_T):
        RECEIVED.update(locals())
        return 0 * backbone_S.sum()


@MODELS.register_module()
class BuiltFromWidthsLoss(SpyFeatureLoss):
    def build_layers(self, num_classes, feats_S, feats_T, backbone_S):
        RECEIVED.update(widths=(num_classes, feats_S, feats_T, backbone_S))

    def forward(self, feats_S, feats_T, backbone_S):
        return 0 * feats_S.sum()


@pytest.fixture(scope='module')
def teacher_ckpt(tmp_path_factory) -> str:
    return tiny.save_teacher(tmp_path_factory.mktemp('teacher') / 'teacher.pth')


def run(teacher_ckpt, losses, **changes):
    """Returns a model and its losses of one batch."""
    RECEIVED.clear()
    model = tiny.distillation(teacher_ckpt, losses, **changes).train()
    return model, tiny.losses_of(model)


def distiller(losses, **settings) -> dict:
    return dict(distiller=dict(type='SegDistiller', losses=losses, **settings))


def test_each_loss_receives_the_records_that_its_arguments_name(teacher_ckpt):
    equal_widths = tiny.pspnet(8)
    model, _ = run(teacher_ckpt, dict(loss_spy=dict(type='SpyLoss')), student=equal_widths)
    data = model.data_preprocessor(tiny.batch(), True)
    with torch.no_grad():
        stages = model.teacher.extract_feat(data['inputs'])
        feats = model.teacher.decode_head._forward_feature(stages)
        preds = model.teacher.decode_head.conv_seg(feats)
    assert torch.equal(RECEIVED['preds_T'], preds) and torch.equal(RECEIVED['feats_T'], feats)
    assert all(torch.equal(a, b) for a, b in zip(RECEIVED['backbone_T'], stages)) and len(RECEIVED['backbone_T']) == 4
    assert RECEIVED['gt'].shape == (2, 32, 32)
    assert torch.equal(RECEIVED['gt'][1], data['data_samples'][1].gt_sem_seg.data[0])
    assert RECEIVED['optional'] is None
    assert RECEIVED['preds_S'].requires_grad and not RECEIVED['preds_T'].requires_grad


def test_features_are_recorded_before_dropout(teacher_ckpt):
    model, _ = run(teacher_ckpt, dict(loss_spy=dict(type='SpyFeatureLoss')))
    head = model.student.decode_head
    recorder = model.distiller.student_recorders.get_recorder('feats')
    assert head.dropout is not None and recorder.source == 'decode_head.dropout'
    assert (RECEIVED['feats_S'] != 0).any((2, 3)).all()  # dropout would set whole channels to zero


def test_features_of_a_head_without_dropout_are_the_input_of_its_classifier(teacher_ckpt):
    no_dropout = tiny.pspnet(4)
    no_dropout['decode_head'] = dict(no_dropout['decode_head'], dropout_ratio=0)
    model, _ = run(teacher_ckpt, dict(loss_spy=dict(type='SpyFeatureLoss')), student=no_dropout)
    assert model.distiller.student_recorders.get_recorder('feats').source == 'decode_head.conv_seg'
    torch.testing.assert_close(model.student.decode_head.conv_seg(RECEIVED['feats_S']).shape, torch.Size([2, 3, 4, 4]))


def test_logits_of_a_cascade_are_those_of_its_last_stage():
    hrnet = dict(
        cfg_path='mmseg::ocrnet/ocrnet_hr18_4xb2-40k_cityscapes-512x1024.py',
        pretrained=None,
        backbone=dict(
            extra=dict(
                stage2=dict(num_channels=(4, 8)),
                stage3=dict(num_modules=1, num_channels=(4, 8, 16)),
                stage4=dict(num_modules=1, num_channels=(4, 8, 16, 32)),
            )
        ),
        decode_head={
            '0': dict(in_channels=[4, 8, 16, 32], channels=60),
            '1': dict(in_channels=[4, 8, 16, 32], channels=16, ocr_channels=8),
        },
    )
    from mmseg_bpkd.models.segmentors import build_segmentor, resolve_segmentor

    teacher = build_segmentor(resolve_segmentor(hrnet, 3, tiny.PREPROCESSOR))
    model, losses = run(None, dict(loss_kd=dict(type='KDLoss')), teacher=teacher)
    assert model.distiller.teacher_recorders.get_recorder('preds').source == 'decode_head.1.conv_seg'
    assert torch.isfinite(losses['distill.loss_kd'])


@pytest.mark.parametrize('align_corners', [False, True])
def test_smaller_records_of_the_student_are_resized_to_those_of_the_teacher(teacher_ckpt, align_corners):
    coarse = tiny.pspnet(4)
    coarse['backbone'] = dict(coarse['backbone'], strides=(1, 2, 2, 2), dilations=(1, 1, 1, 1))
    coarse['decode_head'] = dict(coarse['decode_head'], align_corners=align_corners)
    model, losses = run(
        teacher_ckpt,
        dict(loss_spy=dict(type='SpyFeatureLoss'), loss_cwd=dict(type='CWDFeatureLoss')),
        student=coarse,
    )
    assert RECEIVED['feats_S'].shape == (2, 8, 4, 4) and RECEIVED['feats_T'].shape == (2, 16, 4, 4)
    assert torch.isfinite(losses['distill.loss_cwd'])  # aligned, then resized
    x = torch.randn(2, 3, 2, 3)
    fitted = model.distiller._fit('loss_spy', 'preds', x, torch.zeros(2, 3, 4, 6))
    assert torch.equal(fitted, resize(x, (4, 6), mode='bilinear', align_corners=align_corners))
    assert model.distiller._fit('loss_spy', 'preds', x.half(), torch.zeros(2, 3, 4, 6).half()).dtype == torch.float32


def test_an_aligner_has_the_widths_of_the_models_and_gets_a_gradient(teacher_ckpt):
    model, losses = run(teacher_ckpt, dict(loss_cwd=dict(type='CWDFeatureLoss')))
    convolution = model.distiller.connectors['loss_cwd_feats_S'].conv_module.conv
    assert convolution.weight.shape == (16, 8, 1, 1)
    losses['distill.loss_cwd'].backward()
    assert convolution.weight.grad.abs().sum() > 0
    assert any(parameter is convolution.weight for parameter in model.parameters())


def test_an_aligner_for_one_stage_of_the_backbone_has_the_width_of_that_stage(teacher_ckpt):
    name = dict(loss_last=dict(type='LastStageLoss'))
    stage = {f'backbone_{side}': dict(recorder='backbone', from_student=side == 'S', data_idx=-1) for side in 'ST'}
    model, _ = run(teacher_ckpt, name, **distiller(name, loss_forward_mappings=dict(loss_last=stage)))
    assert RECEIVED['backbone_S'].shape == RECEIVED['backbone_T'].shape == (2, 64, 4, 4)
    assert model.distiller.connectors['loss_last_backbone_S'].conv_module.conv.weight.shape == (64, 32, 1, 1)
    with pytest.raises(ValueError, match='loss_last has align, which needs one stage.*data_idx'):
        run(teacher_ckpt, name)


def test_build_layers_receives_the_widths_that_its_arguments_name(teacher_ckpt):
    run(teacher_ckpt, dict(loss_x=dict(type='BuiltFromWidthsLoss')))
    assert RECEIVED['widths'] == (3, 8, 16, [4, 8, 16, 32])


def test_stage_is_the_last_stage_and_a_mapping_selects_another_one(teacher_ckpt):
    losses = dict(loss_x=dict(type='MGDLoss'))
    model, values = run(teacher_ckpt, losses)
    assert model.distiller.distill_losses['loss_x'].generator.align.weight.shape == (64, 32, 1, 1)
    second = {f'stage_{side}': dict(recorder='stage', from_student=side == 'S', data_idx=1) for side in 'ST'}
    model, others = run(teacher_ckpt, losses, **distiller(losses, loss_forward_mappings=dict(loss_x=second)))
    assert model.distiller.distill_losses['loss_x'].generator.align.weight.shape == (16, 8, 1, 1)
    assert torch.isfinite(values['distill.loss_x']) and torch.isfinite(others['distill.loss_x'])


def test_a_record_of_unknown_width_is_refused_by_name(teacher_ckpt):
    losses = dict(loss_x=dict(type='BuiltFromWidthsLoss'))
    recorders = dict(other=dict(type='ModuleInputs', source='decode_head.bottleneck.conv'))
    mapping = dict(feats_S=dict(recorder='other', from_student=True, data_idx=0))
    with pytest.raises(ValueError, match="loss_x needs the width of the record 'other', which is unknown"):
        run(
            teacher_ckpt,
            losses,
            **distiller(losses, student_recorders=recorders, loss_forward_mappings=dict(loss_x=mapping)),
        )


COMBINATIONS = [('bpkd', 'dist'), ('cwd', 'cirkd'), ('afdcd', 'skds', 'apd')]


@pytest.mark.parametrize('methods', COMBINATIONS, ids='+'.join)
def test_combined_methods_train_the_student_and_their_own_layers(teacher_ckpt, methods):
    """Merges the losses of several files of `_base_/distillers` in one distiller."""
    losses, mappings = {}, {}
    for method in methods:
        distiller = Config.fromfile(f'{ROOT}/configs/_base_/distillers/{method}.py').distiller.to_dict()
        losses.update(distiller['losses'])
        mappings.update(distiller.get('loss_forward_mappings', {}))
    combined = dict(type='SegDistiller', losses=losses, loss_forward_mappings=mappings)
    model = tiny.distillation(teacher_ckpt, distiller=combined).train()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    logs = model.train_step(tiny.batch(), OptimWrapper(torch.optim.SGD(model.parameters(), 0.1)))
    assert all(any(f'distill.{name}' in key for key in logs) for name in losses)
    assert logs['loss'].item() == pytest.approx(sum(logs[key].item() for key in logs if 'loss_' in key), rel=1e-5)
    trained = {
        name.split('.')[2]
        for name, parameter in model.named_parameters()
        if name.startswith('distiller') and not torch.equal(parameter, before[name])
    }
    assert trained == {name for name, loss in model.distiller.distill_losses.items() if list(loss.parameters())}
    assert not torch.equal(model.student.backbone.stem[0].weight, before['architecture.backbone.stem.0.weight'])


def test_explicit_recorders_and_mappings_override_the_argument_names(teacher_ckpt):
    losses = dict(loss_kd=dict(type='KDLoss'))
    mapping = {f'preds_{side}': dict(recorder='other', from_student=side == 'S', data_idx=0) for side in 'ST'}
    recorders = dict(other=dict(type='ModuleInputs', source='decode_head.bottleneck.conv'))
    wiring = dict(student_recorders=recorders, teacher_recorders=recorders, loss_forward_mappings=dict(loss_kd=mapping))
    model, losses = run(teacher_ckpt, losses, student=tiny.pspnet(8), **distiller(losses, **wiring))
    assert list(model.distiller.student_recorders.recorders) == ['other'] and torch.isfinite(losses['distill.loss_kd'])


def test_mmrazors_cwd_works_unchanged_and_equals_ours(teacher_ckpt):
    _, losses = run(teacher_ckpt, dict(loss_cwd=dict(type='mmrazor.ChannelWiseDivergence', tau=4, loss_weight=3)))
    _, ours = run(teacher_ckpt, dict(loss_cwd=dict(type='CWDLoss')))
    torch.testing.assert_close(losses['distill.loss_cwd'], ours['distill.loss_cwd'])


def test_losses_are_logged_in_order_and_term_by_term(teacher_ckpt):
    _, losses = run(teacher_ckpt, dict(loss_bpkd=dict(type='BPKDLoss'), loss_kd=dict(type='KDLoss')))
    assert [key for key in losses if key.startswith('distill')] == [
        'distill.loss_bpkd_edge',
        'distill.loss_bpkd_body',
        'distill.loss_kd',
    ]


def test_a_loss_name_that_mmengine_would_not_sum_is_refused(teacher_ckpt):
    with pytest.raises(ValueError, match='a key \'bpkd\', but a name must contain "loss"'):
        run(teacher_ckpt, dict(bpkd=dict(type='BPKDLoss')))


def test_an_unknown_argument_of_forward_is_refused_by_name(teacher_ckpt):
    with pytest.raises(
        ValueError,
        match="loss_x: the forward of UnknownArgumentLoss has an argument 'attention_T', which names no record",
    ):
        run(teacher_ckpt, dict(loss_x=dict(type='UnknownArgumentLoss')))


@pytest.mark.parametrize(
    ('mappings', 'message'),
    [
        (dict(loss_y={}), r"has \['loss_y'\], but the losses are \['loss_kd'\]"),
        (
            dict(loss_kd=dict(logits=dict(recorder='preds', from_student=True))),
            r"\['logits'\].*\['preds_S', 'preds_T'\]",
        ),
    ],
)
def test_mappings_for_unknown_losses_or_arguments_are_refused(teacher_ckpt, mappings, message):
    losses = dict(loss_kd=dict(type='KDLoss'))
    with pytest.raises(ValueError, match=message):
        run(teacher_ckpt, losses, **distiller(losses, loss_forward_mappings=mappings))


def test_different_numbers_of_classes_are_an_error_that_states_both_shapes(tmp_path):
    path = tiny.save_teacher(tmp_path / 'five.pth', num_classes=5)
    teacher = tiny.pspnet(8)
    from mmseg_bpkd.models.segmentors import build_segmentor, resolve_segmentor

    built = build_segmentor(resolve_segmentor(teacher, 5, tiny.PREPROCESSOR))
    built.load_state_dict(torch.load(path)['state_dict'])
    with pytest.raises(
        ValueError,
        match=r'loss_bpkd: preds is \(2, 3, 4, 4\) in the student and \(2, 5, 4, 4\) in the '
        'teacher: they have different numbers of classes',
    ):
        run(None, None, teacher=built)


def test_features_of_different_widths_are_refused_without_an_aligner(teacher_ckpt):
    with pytest.raises(ValueError, match=r'feats is \(2, 8, 4, 4\).*\(2, 16, 4, 4\).*widths differ'):
        run(teacher_ckpt, dict(loss_spy=dict(type='SpyLoss')))


def test_a_record_that_was_not_captured_is_an_error_that_names_it(teacher_ckpt):
    model = tiny.distillation(teacher_ckpt)
    model.teacher.decode_head.cls_seg = lambda feat: feat  # a head that bypasses its conv_seg
    with pytest.raises(RuntimeError, match=r"loss_bpkd: preds_T was not recorded.*teacher.*'decode_head.conv_seg'"):
        tiny.losses_of(model)
    assert not model.distiller.student_recorders.get_recorder('preds').data_buffer


OF_MMRAZOR = dict(
    ATLoss=('s_feature', 't_feature'), DISTLoss=('logits_S', 'logits_T'), MGDLoss=('preds_S', 'preds_T')
)  # the losses that MMRazor has too, and the arguments of its forward


def built(name: str, **loss) -> type:
    mapping = {argument: dict(recorder='x', from_student=True) for argument in OF_MMRAZOR[name]}
    mappings = dict(loss_x=mapping) if loss.pop('mapped', True) else None
    return type(SegDistiller(dict(loss_x=loss), loss_forward_mappings=mappings).distill_losses['loss_x'])


@pytest.mark.parametrize('name', OF_MMRAZOR)
def test_a_name_that_mmrazor_has_too_is_ours_unless_its_scope_is_given(name):
    ours, theirs = getattr(losses, name), getattr(mmrazor.models.losses, name)
    assert built(name, type=name, mapped=False) is ours
    assert built(name, type=ours, mapped=False) is ours
    assert built(name, type=f'mmrazor.{name}') is theirs
    assert built(name, type=name, _scope_='mmrazor') is theirs  # what MMEngine adds to inherited configs
    assert built(name, type=name, _scope_='mmseg', mapped=False) is ours  # MMSegmentation has none


def test_a_loss_without_a_type_is_refused_with_mmengines_message():
    with pytest.raises(KeyError, match='must contain the key "type"'):
        SegDistiller(dict(loss_x=dict(weight=1)))
