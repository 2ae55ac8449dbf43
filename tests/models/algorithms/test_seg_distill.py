import copy
from http.client import RemoteDisconnected
from unittest import mock
from urllib.error import URLError

import pytest
import runs
import tiny
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.hooks import EMAHook, Hook
from mmengine.model import ExponentialMovingAverage, revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from mmrazor.models.algorithms import SingleTeacherDistill
from mmrazor.models.task_modules.recorder import (
    FunctionInputsRecorder,
    MethodInputsRecorder,
    ModuleOutputsRecorder,
    ParameterRecorder,
)
from mmseg.models import ResNetV1c
from mmseg.registry import MODELS as SEGMENTORS

from mmseg_bpkd.fileio.checkpoint import load_strictly, read_checkpoint
from mmseg_bpkd.models.algorithms import SegDistill
from mmseg_bpkd.models.distillers import SegDistiller
from mmseg_bpkd.models.losses import DistillLoss
from mmseg_bpkd.models.roles import student_config
from mmseg_bpkd.models.segmentors import build_segmentor, resolve_segmentor


@pytest.fixture(scope='module')
def teacher_ckpt(tmp_path_factory) -> str:
    return tiny.save_teacher(tmp_path_factory.mktemp('teacher') / 'teacher.pth')


@pytest.fixture
def model(teacher_ckpt) -> SegDistill:
    return tiny.distillation(teacher_ckpt).train()


def step(model, data=None, lr=0.1) -> dict:
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr))
    return model.train_step(data or tiny.batch(), wrapper)


def test_a_step_logs_the_task_and_every_term_and_trains_on_their_sum(model):
    logs = step(model)
    assert list(logs) == [
        'loss',
        'student.decode.loss_ce',
        'student.decode.acc_seg',
        'student.aux.loss_ce',
        'student.aux.acc_seg',
        'distill.loss_bpkd_edge',
        'distill.loss_bpkd_body',
    ]
    parts = [value for key, value in logs.items() if 'loss_' in key]
    assert all(value > 0 for value in parts)
    torch.testing.assert_close(logs['loss'], sum(parts))


def test_distillation_is_what_the_loss_says_of_both_logits(model):
    data = model.data_preprocessor(tiny.batch(), True)
    with torch.no_grad():
        torch.manual_seed(0)
        losses = model(**data, mode='loss')
        torch.manual_seed(0)  # the same dropout
        preds_S = model.student(data['inputs'], mode='tensor')
        preds_T = model.teacher(data['inputs'], mode='tensor')
    gt = torch.cat([sample.gt_sem_seg.data for sample in data['data_samples']])
    terms = model.distiller.distill_losses['loss_bpkd'].terms(preds_S, preds_T, gt)
    torch.testing.assert_close(losses['distill.loss_bpkd_edge'], terms['edge'], rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(losses['distill.loss_bpkd_body'], terms['body'], rtol=1e-3, atol=1e-6)


def test_a_step_moves_the_student_and_leaves_the_teacher_as_it_was(model):
    teacher = copy.deepcopy(model.teacher.state_dict())
    student = copy.deepcopy(model.student.state_dict())
    for _ in range(2):
        step(model)
    assert all(torch.equal(value, teacher[key]) for key, value in model.teacher.state_dict().items())
    moved = [not torch.equal(value, student[key]) for key, value in model.student.named_parameters() if value.ndim == 4]
    assert all(moved)


def test_the_teacher_is_in_eval_mode_whatever_the_student_is(model):
    assert model.train() is model
    assert model.student.training and not any(module.training for module in model.teacher.modules())
    assert model.eval() is model


def test_the_teachers_logits_are_not_dropped_randomly(model):
    inputs = model.data_preprocessor(tiny.batch(), True)['inputs']
    assert torch.equal(model.teacher(inputs, mode='tensor'), model.teacher(inputs, mode='tensor'))


def test_mmrazors_way_leaves_the_teachers_dropout_on_and_its_batch_norm_off(teacher_ckpt):
    model = tiny.distillation(teacher_ckpt, teacher_eval=False).train()
    training = {type(module).__name__ for module in model.teacher.modules() if module.training}
    assert 'Dropout2d' in training and 'BatchNorm2d' not in training
    model.eval()
    assert not any(module.training for module in model.teacher.modules())


def test_the_teacher_runs_to_its_logits_only(model, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError('the teacher was asked for its loss')

    monkeypatch.setattr(model.teacher, 'loss', refuse)
    monkeypatch.setattr(model.teacher.decode_head, 'loss_by_feat', refuse)
    assert not model.teacher.with_auxiliary_head
    step(model)


def test_optimizer_checkpoint_and_modules_know_nothing_of_the_teacher(model):
    ids = {id(parameter) for parameter in model.teacher.parameters()}
    assert not ids & {id(parameter) for parameter in model.parameters()}
    assert all(key.startswith('architecture.') for key in model.state_dict())
    assert len(model.state_dict()) == len(model.student.state_dict())


def test_a_checkpoint_holds_the_trained_parts_of_the_losses(teacher_ckpt):
    model = tiny.distillation(teacher_ckpt, dict(loss_cwd=dict(type='CWDFeatureLoss')))
    connectors = [key for key in model.state_dict() if not key.startswith('architecture.')]
    assert connectors and all(key.startswith('distiller.connectors.loss_cwd_feats_S.') for key in connectors)
    model.load_state_dict(model.state_dict(), strict=True)


def test_the_teacher_follows_to_another_dtype_and_device(model):
    model.double()
    assert next(model.teacher.parameters()).dtype == torch.float64
    model.to('meta')
    assert next(model.teacher.parameters()).device.type == 'meta'


def test_an_average_of_the_model_neither_copies_nor_averages_the_teacher(model):
    average = ExponentialMovingAverage(model, momentum=0.5, update_buffers=True)
    assert average.module.teacher is model.teacher and average.module.student is not model.student
    before = copy.deepcopy(model.teacher.state_dict())
    step(model)
    for _ in range(2):
        average.update_parameters(model)
    assert not any('teacher' in key for key in average.state_dict())
    assert all(torch.equal(value, before[key]) for key, value in model.teacher.state_dict().items())


def test_a_copy_trains_like_the_original(model):
    copied = copy.deepcopy(model)
    assert copied.distiller.student_recorders is not model.distiller.student_recorders
    torch.manual_seed(0)
    expected = tiny.losses_of(model)
    torch.manual_seed(0)
    got = tiny.losses_of(copied)
    assert {key: value.item() for key, value in got.items()} == {key: value.item() for key, value in expected.items()}


def test_the_ema_hook_writes_a_teacher_free_checkpoint_and_reads_it_again(model):
    class Runner:
        pass

    runner = Runner()
    runner.model, runner.iter, runner._resume = model, 0, True
    hook = EMAHook()
    hook.before_run(runner)
    step(model)
    hook.after_train_iter(runner, 0)
    checkpoint = dict(state_dict=model.state_dict())
    hook.before_save_checkpoint(runner, checkpoint)
    assert not any('teacher' in key for part in checkpoint.values() for key in part)
    hook.after_load_checkpoint(runner, checkpoint)
    model.load_state_dict(checkpoint['state_dict'], strict=True)


def test_an_average_of_the_model_shares_its_memories_and_not_its_projector(teacher_ckpt):
    model = tiny.distillation(teacher_ckpt, dict(loss_cirkd=dict(type='CIRKDLoss'))).train()
    average = ExponentialMovingAverage(model, momentum=0.5)
    step(model)
    average.update_parameters(model)
    ours, theirs = (each.distiller.distill_losses['loss_cirkd'] for each in (model, average.module))
    assert theirs.memories['pixel'] is ours.memories['pixel'] and ours.memories['pixel'].written.sum() > 0
    assert theirs.projector[0].weight is not ours.projector[0].weight


def test_records_are_dropped_after_the_step(model):
    step(model)
    distiller = model.distiller
    recorders = [*distiller.student_recorders.recorders.values(), *distiller.teacher_recorders.recorders.values()]
    assert recorders and not any(recorder.data_buffer for recorder in recorders)


def test_validation_runs_the_student_alone(model, monkeypatch):
    monkeypatch.setattr(model.teacher, 'forward', None)
    data = tiny.batch()
    result = model.eval().val_step(data)
    assert result[0].pred_sem_seg.data.shape == (1, 32, 32)


def test_a_student_starts_from_the_weights_it_would_have_without_a_teacher(teacher_ckpt):
    """Otherwise runs with and without distillation would not be comparable, even with the same seed."""
    torch.manual_seed(1)
    alone = build_segmentor(resolve_segmentor(tiny.pspnet(4), 3, tiny.PREPROCESSOR))
    torch.manual_seed(2)
    alone.init_weights()
    cfg = dict(
        distiller=dict(type='SegDistiller', losses=dict(loss_cwd=dict(type='CWDFeatureLoss'))),
        teacher=tiny.pspnet(8),
        student=tiny.pspnet(4),
        teacher_ckpt=teacher_ckpt,
        num_classes=3,
        data_preprocessor=tiny.PREPROCESSOR,
    )
    torch.manual_seed(1)
    model = SegDistill(**cfg)
    torch.manual_seed(2)
    model.init_weights()
    assert all(torch.equal(value, alone.state_dict()[key]) for key, value in model.student.state_dict().items())


def test_a_step_in_mixed_precision_has_finite_float32_losses_near_the_full_ones(model):
    torch.manual_seed(0)
    expected = tiny.losses_of(model)
    torch.manual_seed(0)  # the same dropout
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = tiny.losses_of(model)
    distilled = [key for key in losses if key.startswith('distill')]
    assert len(distilled) == 2
    for key in distilled:
        assert losses[key].dtype == torch.float32
        torch.testing.assert_close(losses[key], expected[key], rtol=0.1, atol=1e-3)
    sum(losses[key] for key in distilled).backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


def test_when_distillation_is_stopped_the_teacher_rests(model, monkeypatch):
    model.distillation_stopped = True
    monkeypatch.setattr(model.teacher, 'forward', None)
    assert not any(key.startswith('distill') for key in step(model))
    assert not model.distiller.student_recorders.get_recorder('preds').data_buffer


def test_once_distillation_stops_trained_parts_get_a_gradient_of_zero(teacher_ckpt):
    """DDP expects a gradient of every trained parameter."""
    model = tiny.distillation(teacher_ckpt, dict(loss_cirkd=dict(type='CIRKDLoss'))).train()
    model.distillation_stopped = True
    losses = tiny.losses_of(model)
    assert losses['distill.loss_stopped'] == 0
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    assert all((parameter.grad == 0).all() for parameter in model.distiller.parameters())
    assert any((parameter.grad != 0).any() for parameter in model.student.parameters())


def test_the_hook_stops_the_distillation_after_its_number_of_iterations(tmp_path):
    more = "custom_hooks = [*_base_.custom_hooks, dict(type='StopDistillationHook', stop_iter=2)]"
    cfg = Config.fromfile(runs.write_config(tmp_path, 4, more=more))
    cfg.work_dir, cfg.log_level, cfg.experiment_name = str(tmp_path / 'run'), 'ERROR', 'stopped distillation'
    distilled = []

    class Record(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            distilled.append('distill.loss_bpkd_edge' in outputs)

    runner = Runner.from_cfg(cfg)
    runner.register_hook(Record())
    runner.train()
    assert distilled == [True, True, False, False]


@pytest.mark.parametrize('ignored', [0, 254])
def test_a_loss_must_ignore_the_label_that_the_head_ignores(teacher_ckpt, ignored):
    losses = dict(loss_bpkd=dict(type='BPKDLoss', ignore_index=ignored))
    message = f'loss_bpkd has ignore_index={ignored}, but the decode_head of the student has 255: leave it out of'
    with pytest.raises(ValueError, match=message):
        tiny.distillation(teacher_ckpt, losses)


def test_a_mapping_to_a_record_takes_the_call_and_element_of_that_record():
    losses = dict(loss_fit=dict(type='FitNetLoss'))
    mapping = dict(feats_S=dict(recorder='aux_feats', from_student=True))
    found = SegDistiller(losses, loss_forward_mappings=dict(loss_fit=mapping)).loss_forward_mappings['loss_fit']
    assert found['feats_S'] == dict(recorder='aux_feats', from_student=True, record_idx=-1, data_idx=0)
    mapping['feats_S']['data_idx'] = 1
    found = SegDistiller(losses, loss_forward_mappings=dict(loss_fit=mapping)).loss_forward_mappings['loss_fit']
    assert found['feats_S']['data_idx'] == 1
    own = dict(aux_feats=dict(type='ModuleOutputs', source='backbone'))
    found = SegDistiller(losses, own, loss_forward_mappings=dict(loss_fit=mapping)).loss_forward_mappings['loss_fit']
    assert found['feats_S'] == mapping['feats_S']


# Loading


def test_the_teacher_has_the_checkpoints_weights(teacher_ckpt):
    state = torch.load(teacher_ckpt)['state_dict']
    teacher = tiny.distillation(teacher_ckpt, fold_teacher=False).teacher
    assert all(torch.equal(value, state[key]) for key, value in teacher.state_dict().items())


def test_a_distillation_checkpoint_can_teach_too(model, teacher_ckpt, tmp_path):
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'student.pth')
    student = model.student.state_dict()
    pupil = tiny.distillation(str(tmp_path / 'student.pth'), teacher=tiny.pspnet(4), fold_teacher=False)
    assert all(torch.equal(value, student[key]) for key, value in pupil.teacher.state_dict().items())


def test_training_without_the_teachers_weights_is_an_error(teacher_ckpt):
    with pytest.raises(ValueError, match='teacher_ckpt'):
        tiny.distillation(None)
    cfg = dict(
        distiller=dict(type='SegDistiller', losses=dict(loss_kd=dict(type='KDLoss'))),
        teacher=tiny.pspnet(8),
        student=tiny.pspnet(4),
        teacher_ckpt=teacher_ckpt,
        num_classes=3,
        data_preprocessor=tiny.PREPROCESSOR,
    )
    with pytest.raises(RuntimeError, match=r'init_weights\(\)'):
        tiny.losses_of(SegDistill(**cfg))


def test_a_built_teacher_is_taken_as_it_is():
    teacher = build_segmentor(resolve_segmentor(tiny.pspnet(8), 3, tiny.PREPROCESSOR))
    model = tiny.distillation(None, teacher=teacher)
    assert model.teacher is teacher and tiny.losses_of(model)


def test_a_checkpoint_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere.pth'):
        tiny.distillation(str(tmp_path / 'nowhere.pth'))


def test_a_truncated_checkpoint_is_named(teacher_ckpt, tmp_path):
    whole = open(teacher_ckpt, 'rb').read()
    (tmp_path / 'half.pth').write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match='cannot read the checkpoint .*half.pth: it is truncated'):
        tiny.distillation(str(tmp_path / 'half.pth'))


@pytest.mark.parametrize('change', ['width', 'missing', 'unexpected'])
def test_a_checkpoint_of_another_architecture_is_an_error_that_says_where(tmp_path, change):
    path = tiny.save_teacher(tmp_path / 'other.pth', width=4 if change == 'width' else 8)
    state = torch.load(path)
    if change == 'missing':
        del state['state_dict']['backbone.stem.0.weight']
    if change == 'unexpected':
        state['state_dict']['neck.conv.weight'] = torch.zeros(1)
    torch.save(state, path)
    wrong = dict(
        width='backbone.stem.0.weight',
        missing='1 missing: backbone.stem.0.weight',
        unexpected='1 unexpected: neck.conv.weight',
    )[change]
    with pytest.raises(ValueError, match=f'other.pth.*not a checkpoint of this EncoderDecoder.*{wrong}'):
        tiny.distillation(path)


def test_the_teachers_own_imagenet_weights_are_never_fetched(teacher_ckpt, monkeypatch):
    """The student keeps its ImageNet weights: removing them would silently change the experiment."""
    fetched = []
    monkeypatch.setattr(ResNetV1c, 'init_weights', lambda self: fetched.append(self.init_cfg))
    tiny.distillation(
        teacher_ckpt,
        teacher=tiny.pspnet(8, pretrained='torchvision://resnet18'),
        student=tiny.pspnet(4, pretrained='open-mmlab://resnet18_v1c'),
    )
    assert fetched == [dict(type='Pretrained', checkpoint='open-mmlab://resnet18_v1c')]


# Models by path


def test_overrides_are_merged_over_the_config_and_classes_reach_every_head():
    model = resolve_segmentor(tiny.pspnet(4), num_classes=3)
    assert model.decode_head.num_classes == model.auxiliary_head.num_classes == 3
    assert model.backbone.base_channels == 4 and model.backbone.depth == 18
    assert resolve_segmentor(dict(cfg_path=tiny.RESNET18)).decode_head.num_classes == 19


def test_a_cascade_and_several_auxiliary_heads_get_the_classes_too():
    cascade = resolve_segmentor(dict(cfg_path='mmseg::ocrnet/ocrnet_hr18_4xb2-40k_cityscapes-512x1024.py'), 7)
    assert [head.num_classes for head in cascade.decode_head] == [7, 7]
    several = resolve_segmentor(dict(cfg_path='mmseg::icnet/icnet_r50-d8_4xb2-80k_cityscapes-832x832.py'), 7)
    assert [head.num_classes for head in several.auxiliary_head] == [7, 7]


def test_a_local_config_can_be_named(tmp_path):
    (tmp_path / 'model.py').write_text(
        "model = dict(type='EncoderDecoder', decode_head=dict(num_classes=2))\n"
        "data_preprocessor = dict(type='SegDataPreProcessor')\n"
    )
    model = resolve_segmentor(dict(cfg_path=str(tmp_path / 'model.py')), num_classes=3)
    assert model.decode_head.num_classes == 3 and model.data_preprocessor.type == 'SegDataPreProcessor'


@pytest.mark.parametrize('path', ['mmseg::pspnet/pspnet_r19.py', 'configs/pspnet_r19.py'])
def test_a_config_that_is_not_there_is_named(path):
    with pytest.raises(FileNotFoundError, match='pspnet_r19.py'):
        resolve_segmentor(dict(cfg_path=path))


def test_a_part_of_a_config_can_be_replaced():
    model = resolve_segmentor(
        tiny.pspnet(
            4,
            auxiliary_head=None,
            decode_head=dict(_delete_=True, type='FCNHead', in_channels=32, channels=8, num_classes=19),
        ),
        num_classes=3,
    )
    assert model.auxiliary_head is None
    assert model.decode_head == dict(type='FCNHead', in_channels=32, channels=8, num_classes=3)


def test_the_data_sets_settings_replace_the_models_own():
    model = resolve_segmentor(tiny.pspnet(4), 3, tiny.PREPROCESSOR, dict(mode='slide', crop_size=(8, 8), stride=(4, 4)))
    assert model.data_preprocessor.size == (32, 32) and model.test_cfg.mode == 'slide'


@pytest.mark.parametrize('kind', ['SegDistill', 'plain_segmentor', 'plain', 'mmrazor'])
def test_what_is_deployed_is_the_student(kind):
    student = resolve_segmentor(tiny.pspnet(4), 3, tiny.PREPROCESSOR)
    cfg = dict(
        SegDistill=dict(
            type='SegDistill',
            distiller=None,
            teacher=None,
            student=tiny.pspnet(4),
            num_classes=3,
            data_preprocessor=tiny.PREPROCESSOR,
        ),
        plain_segmentor=dict(
            type='plain_segmentor', num_classes=3, data_preprocessor=tiny.PREPROCESSOR, **tiny.pspnet(4)
        ),
        plain=student,
        mmrazor=dict(type='SingleTeacherDistill', architecture=student, teacher=None),
    )[kind]
    assert student_config(cfg) == student


@pytest.mark.parametrize('registry', [MODELS, SEGMENTORS], ids=['root', 'mmseg'])
@pytest.mark.parametrize('scope', [None, 'mmseg', 'mmrazor'])
def test_the_student_of_a_registered_subclass_is_found(registry, scope, monkeypatch):
    class Subclass(SegDistill):
        pass

    monkeypatch.setitem(registry._module_dict, 'SubclassOfSegDistill', Subclass)
    student = dict(student=tiny.pspnet(4), num_classes=3, data_preprocessor=tiny.PREPROCESSOR)
    expected = resolve_segmentor(tiny.pspnet(4), 3, tiny.PREPROCESSOR)
    monkeypatch.setattr(DefaultScope, '_instance_dict', {})
    with DefaultScope.overwrite_default_scope(scope):
        for kind in ('SubclassOfSegDistill', f'{registry.scope}.SubclassOfSegDistill', Subclass, SegDistill):
            assert student_config(dict(type=kind, **student)) == expected


def test_a_model_of_an_unknown_type_is_returned_unchanged():
    model = dict(type='NoSuchModel', student=tiny.pspnet(4))
    assert student_config(model) == model


def test_a_plain_segmentor_is_mmsegs():
    model = MODELS.build(dict(type='plain_segmentor', num_classes=3, **tiny.pspnet(4)))
    assert type(model).__name__ == 'EncoderDecoder' and model.decode_head.num_classes == 3


# Preprocessing


@pytest.mark.parametrize(
    'changes',
    [
        dict(mean=[127.5, 120, 110], std=[127.5, 100, 90]),
        dict(bgr_to_rgb=False),
        dict(bgr_to_rgb=False, mean=[103.53, 116.28, 123.675], std=[57.375, 57.12, 58.395]),
        dict(mean=None, std=None),
    ],
)
def test_a_teacher_with_other_preprocessing_sees_the_images_as_it_would_have(teacher_ckpt, changes):
    theirs = dict(tiny.PREPROCESSOR, **changes)
    model = tiny.distillation(teacher_ckpt, teacher=tiny.pspnet(8, data_preprocessor=dict(theirs, _delete_=True)))
    ours = model.data_preprocessor(tiny.batch(), True)['inputs']
    expected = model.teacher.data_preprocessor(tiny.batch(), True)['inputs']
    assert not torch.allclose(ours, expected)
    torch.testing.assert_close(model._teacher_input(ours), expected, rtol=1e-4, atol=1e-4)
    assert not any('teacher' in key for key in model.state_dict())


def test_equal_preprocessing_costs_nothing(model):
    inputs = model.data_preprocessor(tiny.batch(), True)['inputs']
    assert model._teacher_input(inputs) is inputs


def test_preprocessing_that_cannot_be_converted_is_an_error(teacher_ckpt):
    other = dict(type='mmengine.ImgDataPreprocessor', _delete_=True)
    with pytest.raises(TypeError, match='the teacher has a ImgDataPreprocessor'):
        tiny.distillation(teacher_ckpt, teacher=tiny.pspnet(8, data_preprocessor=other))


# Reading checkpoints


def test_what_is_no_checkpoint_is_refused(tmp_path):
    torch.save([1, 2], tmp_path / 'list.pth')
    with pytest.raises(ValueError, match='list.pth holds a list'):
        read_checkpoint(str(tmp_path / 'list.pth'))


def test_loading_strictly_counts_what_is_missing(model):
    with pytest.raises(ValueError, match=r'nothing.pth is not.*missing: backbone.stem.0.weight'):
        load_strictly(model.student, {}, 'nothing.pth')


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """Returns a function that makes every download fail with an error. The cache is tmp_path/checkpoints."""

    def answer(error: Exception) -> None:
        monkeypatch.setattr('torch.hub.urlopen', mock.Mock(side_effect=error))

    monkeypatch.setattr('torch.hub._hub_dir', str(tmp_path))
    return answer


@pytest.mark.parametrize(
    ('error', 'reason'),
    [(URLError('no network'), 'no network'), (RemoteDisconnected('closed'), 'closed'), (TimeoutError('late'), 'late')],
)
def test_a_failed_download_of_a_teacher_says_which_file_to_put_where(offline, error, reason):
    offline(error)
    with pytest.raises(FileNotFoundError, match=rf'1234\.pth\?x=1 \({reason}\).*checkpoints/teacher-1234\.pth,'):
        read_checkpoint('https://example.org/teacher-1234.pth?x=1')


def test_a_failed_download_of_imagenet_weights_says_which_file_to_put_where(offline, tmp_path):
    offline(URLError('no network'))
    teacher_ckpt = tiny.save_teacher(tmp_path / 'teacher.pth')
    address = 'https://example.org/resnet18-1234.pth'
    message = r'resnet18-1234\.pth \(no network\).*checkpoints/resnet18-1234\.pth.* bpkd train --from-scratch$'
    with pytest.raises(FileNotFoundError, match=message):
        tiny.distillation(teacher_ckpt, student=tiny.pspnet(4, pretrained=address))


def test_imagenet_weights_of_another_network_are_an_error(teacher_ckpt, tmp_path):
    """MMEngine loads the weights that fit, even if none does, and continues."""
    torch.save(dict(state_dict=tiny.distillation(teacher_ckpt).state_dict()), tmp_path / 'wrong.pth')
    with pytest.raises(ValueError, match=r'wrong.pth holds 0 of the \d+ weights of backbone, .* it has architecture'):
        tiny.distillation(teacher_ckpt, student=tiny.pspnet(4, pretrained=str(tmp_path / 'wrong.pth')))


def test_imagenet_weights_that_fit_are_loaded(teacher_ckpt, tmp_path):
    weights = tiny.distillation(teacher_ckpt).student.backbone.state_dict()
    weights = {key: value + 1 for key, value in weights.items()} | {'fc.weight': torch.zeros(1)}
    torch.save(weights, tmp_path / 'right.pth')
    student = tiny.distillation(teacher_ckpt, student=tiny.pspnet(4, pretrained=str(tmp_path / 'right.pth'))).student
    assert all(torch.equal(value, weights[key]) for key, value in student.backbone.state_dict().items())


def test_a_teacher_that_is_not_there_yet_is_told_from_a_wrong_one():
    with pytest.raises(FileNotFoundError, match='no checkpoint work_dirs/t.pth of the teacher: train it'):
        tiny.distillation('work_dirs/t.pth')


def test_what_a_broken_download_left_in_the_cache_is_named(offline, tmp_path):
    """For example the HTML page of a proxy. Every later run would read it again."""
    (tmp_path / 'checkpoints').mkdir()
    (tmp_path / 'checkpoints/teacher-1234.pth').write_text('<html>')
    with pytest.raises(ValueError, match=r'checkpoints/teacher-1234\.pth, from https.*delete it'):
        read_checkpoint('https://example.org/teacher-1234.pth')


# In-place operations


@pytest.mark.parametrize('layer', ['backbone.layer1.0.bn1', 'decode_head.bottleneck.bn'])  # in a block, in a ConvModule
@pytest.mark.parametrize('algorithm', [SegDistill, SingleTeacherDistill])
def test_a_record_is_not_overwritten_by_the_activation_behind_the_layer(algorithm, layer):
    """The activation is a ReLU, and a batch norm without training has negative outputs, too."""
    recorders = dict(norm=dict(type='ModuleOutputs', source=layer))
    settings = dict(student_recorders=recorders, teacher_recorders=recorders)
    teacher, student = (build_segmentor(resolve_segmentor(tiny.pspnet(4), 3, tiny.PREPROCESSOR)) for _ in range(2))
    if algorithm is SegDistill:
        distiller = dict(type='SegDistiller', losses=dict(loss_kd=dict(type='KDLoss')), **settings)
        model = SegDistill(distiller, teacher, student)
    else:
        with DefaultScope.overwrite_default_scope('mmrazor'):
            distiller = dict(type='ConfigurableDistiller', **settings)
            model = SingleTeacherDistill(distiller, revert_sync_batchnorm(teacher), architecture=student)
    seen = []
    for network in (model.teacher, model.student):
        network.get_submodule(layer).register_forward_hook(lambda *given: seen.append(given[-1].clone()))
    data = model.data_preprocessor(tiny.batch(), True)
    with model.distiller.teacher_recorders, model.distiller.student_recorders:
        for network in (model.teacher, model.student):
            network.loss(**data)
    for recorders_of, expected in zip((model.distiller.teacher_recorders, model.distiller.student_recorders), seen):
        assert expected.min() < 0
        assert torch.equal(recorders_of.get_recorder('norm').get_record_data(), expected)


def halved_in_place(x: torch.Tensor) -> torch.Tensor:
    return x.mul_(0.5)


class CallsHalved:
    def halved(self, x):
        return x.mul_(0.5)


@MODELS.register_module()
class RecordLoss(DistillLoss):
    any_width = True

    def forward(self, record_S, record_T):
        self.received = record_S.detach(), record_T
        return 0 * record_S.sum()


def distillation_of(teacher_ckpt, kind: str, source: str) -> SegDistill:
    """A distillation with a recorder of a layer of both networks, whose record a loss reads."""
    recorders = dict(layer=dict(type=kind, source=source))
    index = dict(data_idx=0) if kind == 'ModuleInputs' else {}
    mappings = {f'record_{side}': dict(recorder='layer', from_student=side == 'S', **index) for side in ('S', 'T')}
    distiller = dict(
        type='SegDistiller',
        losses=dict(loss_x=dict(type='RecordLoss')),
        student_recorders=recorders,
        teacher_recorders=recorders,
        loss_forward_mappings=dict(loss_x=mappings),
    )
    return tiny.distillation(teacher_ckpt, distiller=distiller, fold_teacher=False).train()


@pytest.mark.parametrize(
    ('kind', 'source', 'relu'),
    [
        ('ModuleOutputs', 'backbone.layer1.0.bn2', None),  # ResNet adds the identity in place
        ('ModuleOutputs', 'backbone.layer1.0.bn1', F.relu_),
        ('ModuleInputs', 'backbone.layer1.0.relu', F.relu_),
        ('ModuleInputs', 'backbone.layer1.0.relu', lambda x: F.relu(x, inplace=True)),
    ],
)
def test_a_record_that_an_operation_overwrites_is_refused(teacher_ckpt, kind, source, relu):
    model = distillation_of(teacher_ckpt, kind, source)
    for network in (model.student, model.teacher):
        network.backbone.layer1[0].relu.forward = relu or F.relu
    with pytest.raises(ValueError, match=f"the record of '{source}' was overwritten .* record another layer"):
        tiny.losses_of(model)


@pytest.mark.parametrize(
    ('kind', 'source'), [('ModuleOutputs', 'backbone.layer1.0.bn1'), ('ModuleInputs', 'backbone.layer1.0.relu')]
)
def test_records_that_nothing_overwrites_are_what_the_layer_returned_or_got(teacher_ckpt, kind, source):
    """The activation is a module with inplace=True, which `SegDistill` turns off."""
    model, seen = distillation_of(teacher_ckpt, kind, source), []
    for network in (model.student, model.teacher):
        network.backbone.layer1[0].bn1.register_forward_hook(lambda *given: seen.append(given[-1].clone()))
    for _ in range(2):  # the records of the first step are no records of the second one
        tiny.losses_of(model)
    teacher, student = seen[-2:]
    received = model.distiller.distill_losses['loss_x'].received
    assert student.min() < 0 and torch.equal(received[0], student) and torch.equal(received[1], teacher)


@pytest.mark.parametrize('recorder', [FunctionInputsRecorder, MethodInputsRecorder])
def test_the_inputs_that_a_function_overwrites_are_refused(recorder):
    source = 'halved_in_place' if recorder is FunctionInputsRecorder else 'CallsHalved.halved'
    recorder = recorder(f'{__name__}.{source}')
    recorder.initialize()
    with recorder:
        x, y = torch.ones(2), torch.ones(2)
        halved_in_place(x), CallsHalved().halved(y)
    with pytest.raises(ValueError, match=f'{source}.* was overwritten'):
        recorder.get_record_data(0, 0)


def test_each_record_has_its_own_version_and_a_parameter_may_be_trained():
    layer, outputs = torch.nn.Identity(), ModuleOutputsRecorder('')
    outputs.initialize(layer)
    weight = ParameterRecorder('weight')
    weight.initialize(torch.nn.Linear(1, 1))
    x = torch.ones(1)
    with outputs, weight:
        layer(x)
        layer(x.zero_())
        weight.get_record_data().data.zero_()
        torch.nn.init.ones_(weight.get_record_data())
    assert outputs.get_record_data(1).item() == outputs.get_record_data(-1).item() == 0
    assert weight.get_record_data().item() == 1
    with pytest.raises(ValueError, match='was overwritten'):
        outputs.get_record_data(0)
    with torch.inference_mode(), outputs:
        layer(torch.ones(1))
        assert outputs.get_record_data(0).item() == 1
