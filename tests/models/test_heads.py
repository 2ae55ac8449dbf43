"""The heads of MMSegmentation as teachers and students. The networks are those of `heads.py`.

The slow tests try all rows of docs/support.md:

    python -m pytest -m slow tests/models/test_heads.py -k row                               # a few minutes
    WRITE_SUPPORT=1 python -m pytest -m slow tests/models/test_heads.py -k row               # writes docs/support.*
    WRITE_SUPPORT=1 python -m pytest -m slow tests/models/test_heads.py -k "row and PIDNet"  # writes one row
"""

import copy
import logging
import os
import shutil
import sys

import heads
import mmseg.models.decode_heads
import oracles
import pytest
import tiny
import torch
import torch.nn.functional as F
from mmengine.logging import MMLogger
from mmengine.model import BaseModel, BaseModule, revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmseg.models import MaskFormerHead, SegDataPreProcessor
from torch import Tensor, nn

from mmseg_bpkd.models.algorithms.folding import fold_batch_norm
from mmseg_bpkd.models.distillers.records import mask_logits
from mmseg_bpkd.models.segmentors import build_segmentor, forward_heads, resolve_segmentor

COMPILED = sys.modules['mmcv._ext'].__spec__.loader is not None
WRITE = bool(os.environ.get('WRITE_SUPPORT'))
HAS_MMDET = MaskFormerHead.__base__ is not BaseModule
PARTS = {'KernelUpdateHead', 'KernelUpdator'}  # of IterativeDecodeHead


def network(name: str, **changes) -> BaseModel:
    """A small network in eval mode, with random statistics of batch norm."""
    torch.manual_seed(0)
    config = heads.model_config(heads.NETWORKS[name])
    model = build_segmentor(resolve_segmentor({**config, **changes}, heads.NUM_CLASSES, heads.preprocessor(64)))
    for module in model.modules():
        if getattr(module, 'running_mean', None) is not None:
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    return revert_sync_batchnorm(model).eval()


def norms_of(model: nn.Module) -> list:
    return [name for name, module in model.named_modules() if 'BatchNorm' in type(module).__name__]


def distillation(teacher: BaseModel, losses: dict, student: dict | None = None):
    """A SegDistill whose teacher is already built."""
    model = tiny.distillation(
        None, losses, teacher=teacher, student=student or tiny.pspnet(4), data_preprocessor=heads.preprocessor(64)
    )
    return model.train()


def records_of_teacher(name: str, image: Tensor) -> tuple[BaseModel, Tensor, Tensor]:
    """Returns a teacher, its logits and its feature, as a loss gets them."""
    losses = dict(loss_kd=dict(type='KDLoss'), loss_cwd=dict(type='CWDFeatureLoss'))
    model = distillation(network(name), losses)
    with torch.no_grad(), model.distiller.teacher_recorders:
        forward_heads(model.teacher, image)
    mappings = model.distiller.loss_forward_mappings
    preds, feats = mappings['loss_kd']['preds_T'], mappings['loss_cwd']['feats_T']
    return model.teacher, model.distiller.get_record(**preds), model.distiller.get_record(**feats)


# Every row of docs/support.md that was wrong in 0.1.0


@pytest.mark.parametrize('name', ['DANet', 'DDRNet', 'EncNet', 'K-Net', 'PIDNet', 'PointRend', 'Segmenter'])
@pytest.mark.parametrize('role', ['student', 'folded teacher'])
def test_a_network_trains(name, role):
    tried, partner = heads.NETWORKS[name], heads.PARTNER
    teacher, student = (tried, partner) if role == 'folded teacher' else (partner, tried)
    heads.distil(teacher, student, tried.crop, steps=1)


def test_every_head_of_mmsegmentation_is_tried():
    named = set(mmseg.models.decode_heads.__all__) - PARTS
    assert {tried.head for tried in heads.NETWORKS.values()} == named
    rows = heads.committed_rows()
    assert list(rows) == list(heads.NETWORKS)
    assert [row['config'] for row in rows.values()] == [tried.config for tried in heads.NETWORKS.values()]


@pytest.fixture(scope='module')
def rows():
    """The rows of docs/support.json, {name of a network: row}. With WRITE_SUPPORT=1, they are written afterwards."""
    rows = heads.committed_rows()
    yield rows
    if WRITE:
        heads.write(rows)


@pytest.mark.slow
@pytest.mark.parametrize('name', heads.NETWORKS)
def test_a_row_of_the_page_is_what_the_network_does(name, rows):
    remark = heads.NETWORKS[name].remark
    if ('MMDetection' in remark and not HAS_MMDET) or ('compiled' in remark and COMPILED):
        pytest.skip(f'other packages than those of the page: {remark}')
    row = heads.try_network(name)
    if WRITE:
        rows[name] = row
    assert row == rows[name], 'docs/support.json is outdated: run this test with WRITE_SUPPORT=1'


def test_the_page_shows_the_committed_results():
    with open(heads.PAGE) as file:
        assert heads.table(dict(networks=list(heads.committed_rows().values()))) in file.read()


def test_a_row_that_is_written_replaces_that_of_the_page(monkeypatch, tmp_path):
    for key, file in (('ROWS', 'support.json'), ('PAGE', 'support.md')):
        shutil.copy(getattr(heads, key), tmp_path / file)
        monkeypatch.setattr(heads, key, str(tmp_path / file))
    before, rows = (tmp_path / 'support.md').read_text(), heads.committed_rows()
    heads.write(rows)
    assert (tmp_path / 'support.md').read_text() == before and heads.committed_rows() == rows
    rows['FCN'].update(norms_folded=24)
    heads.write(rows)
    page = before.replace('| FCN | `FCNHead` | yes | yes | 25 of 25 |', '| FCN | `FCNHead` | yes | yes | 24 of 25 |')
    assert (tmp_path / 'support.md').read_text() == page != before


# Folding


@pytest.mark.parametrize(
    ('name', 'left'), [('DANet', 0), ('EncNet', 1), ('DDRNet', 14), ('PIDNet', 13), ('SegNeXt', 8)]
)
def test_a_folded_teacher_has_the_same_outputs_and_only_norms_without_convolution(name, left):
    model, image = network(name, auxiliary_head=None), torch.randn(1, 3, 64, 64)

    def outputs():
        torch.manual_seed(0)  # SegNeXt
        (output,) = forward_heads(model, image)
        return output if isinstance(output, tuple) else (output,)

    with torch.no_grad():
        expected, total = outputs(), len(norms_of(model))
        folded = fold_batch_norm(model)
        for old, new in zip(expected, outputs(), strict=True):
            torch.testing.assert_close(new, old, rtol=1e-3, atol=1e-4)
    assert folded > 0 and len(norms_of(model)) == total - folded == left


class Toy(BaseModel):
    """A convolution and a norm, called in different ways."""

    def __init__(self, way: str) -> None:
        super().__init__(SegDataPreProcessor())
        self.way = way
        self.conv, self.other, self.norm = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.norm.running_mean.fill_(0.02)
        self.norm.running_var.fill_(2)
        self.decode_head = nn.Identity()

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.decode_head(self.extract_feat(inputs))

    def extract_feat(self, inputs):
        if self.way == 'norm first':
            return self.conv(self.norm(inputs))
        if self.way == 'activation between':
            return self.norm(self.conv(inputs).relu_())
        if self.way == 'two convolutions':
            return self.norm(self.conv(inputs)) + self.norm(self.other(inputs))
        if self.way == 'twice':
            return self.norm(self.conv(inputs)) + self.norm(self.conv(2 * inputs))
        if self.way == 'also without norm':
            return self.norm(self.conv(inputs)) + self.conv(inputs)
        if self.way == 'also its output':
            output = self.conv(inputs)
            return self.norm(output) + output
        if self.way == 'NaN in the second output':
            return self.norm(self.conv(inputs)), 0 * inputs / 0
        raise ValueError(self.way)


@pytest.mark.parametrize(
    ('way', 'folded'),
    [
        ('norm first', 0),
        ('activation between', 0),
        ('two convolutions', 0),
        ('also without norm', 0),
        ('twice', 1),
    ],
)
def test_only_a_norm_of_the_output_of_one_convolution_is_folded(way, folded):
    model, image = Toy(way).eval(), torch.randn(1, 3, 8, 8)
    expected = model(image)
    assert fold_batch_norm(model) == folded
    torch.testing.assert_close(model(image), expected, rtol=1e-5, atol=1e-6)
    assert len(norms_of(model)) == 1 - folded and not any(p.requires_grad for p in model.parameters())


def test_a_convolution_whose_output_is_used_elsewhere_too_is_an_error_that_says_so():
    with pytest.raises(
        ValueError, match='logits of this Toy by .* uses the output or the weights .*fold_teacher=False'
    ):
        fold_batch_norm(Toy('also its output'))


def test_nan_in_one_of_several_outputs_is_an_error():
    with pytest.raises(ValueError, match='changes the logits of this Toy by nan%'):
        fold_batch_norm(Toy('NaN in the second output'))


# Records


def test_the_feature_of_danet_is_the_one_that_is_classified():
    """DAHead also calls its dropout for the features of its two attention modules."""
    teacher, preds, feats = records_of_teacher('DANet', torch.randn(2, 3, 64, 64))
    torch.testing.assert_close(teacher.decode_head.conv_seg(feats), preds)


def test_knets_logits_are_those_of_its_last_stage():
    image = torch.randn(2, 3, 64, 64)
    teacher, preds, feats = records_of_teacher('K-Net', image)
    assert [head.num_classes for head in teacher.decode_head.kernel_update_head] == [3, 3, 3]
    with torch.no_grad():
        features = teacher.extract_feat(image)
        assert torch.equal(preds, teacher.decode_head.forward(features))
        assert torch.equal(feats, teacher.decode_head.kernel_generate_head._forward_feature(features))


def test_segmenters_logits_are_the_products_of_its_feature_with_the_classes():
    image = torch.randn(2, 3, 64, 32)
    teacher, preds, feats = records_of_teacher('Segmenter', image)
    assert preds.shape == (2, 3, 4, 2) and feats.shape == (2, 16, 4, 2)
    head = teacher.decode_head
    classes = []
    hook = head.classes_proj.register_forward_hook(lambda module, inputs, output: classes.append(output))
    with torch.no_grad():
        assert torch.equal(preds, teacher(image, mode='tensor'))
    hook.remove()
    products = torch.einsum('ndhw,ncd->nhwc', F.normalize(feats, dim=1), F.normalize(classes[0], dim=2))
    torch.testing.assert_close(head.mask_norm(products).permute(0, 3, 1, 2), preds, rtol=1e-4, atol=1e-5)


def test_pointrends_records_are_those_of_its_coarse_head():
    image = torch.randn(2, 3, 64, 64)
    teacher, preds, feats = records_of_teacher('PointRend', image)
    coarse = teacher.decode_head[0]
    with torch.no_grad():
        assert torch.equal(preds, coarse.forward(teacher.extract_feat(image)))
        assert torch.equal(forward_heads(teacher, image)[0], preds)
    assert preds.shape == (2, 3, 16, 16) and torch.equal(coarse.conv_seg(feats), preds)


@pytest.mark.parametrize('name', ['DDRNet', 'PIDNet'])
def test_the_last_stage_is_the_same_in_training_and_in_eval_mode(name):
    teacher = network(name)
    model = distillation(teacher, dict(loss_mgd=dict(type='MGDLoss')), copy.deepcopy(teacher))
    image = torch.randn(2, 3, 64, 64)
    seen = []
    teacher.decode_head.register_forward_pre_hook(lambda head, inputs: seen.append(inputs[0]))
    with model.distiller.teacher_recorders, model.distiller.student_recorders:
        with torch.no_grad():
            teacher.decode_head(teacher.backbone(image))
        model.student.backbone(image)
    mapping = model.distiller.loss_forward_mappings['loss_mgd']
    stages = {side: model.distiller.get_record(**mapping[f'stage_{side}']) for side in 'ST'}
    assert torch.equal(stages['T'], seen[0]) and stages['S'].shape == seen[0].shape == (2, 32, 8, 8)


def test_a_copy_of_a_segmenter_trains_like_the_original():
    """The recorder of its logits replaces a method, which would be that of the original in a copy."""
    student = heads.model_config(heads.NETWORKS['Segmenter'])
    student = network('Segmenter', decode_head={**student['decode_head'], 'drop_path_rate': 0})
    student.backbone.layers.apply(lambda module: setattr(module, 'drop_prob', 0))
    model = distillation(network('PSPNet'), dict(loss_kd=dict(type='KDLoss')), student)
    copied = copy.deepcopy(model)
    batch = heads.batch(64)
    for each in (model, copied):
        each.train_step(batch, OptimWrapper(torch.optim.SGD(each.parameters(), 0.1)))
        assert 'forward' not in vars(each.student.decode_head)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), copied.parameters()))


class FlatHead(BaseModule):
    """A head without `conv_seg` that returns no map."""

    num_classes = out_channels = 3
    align_corners = False

    def forward(self, features):
        return features[-1].mean((2, 3))


def test_a_head_without_logits_is_an_error_that_names_it():
    teacher = network('PSPNet')
    teacher.decode_head = FlatHead()
    with pytest.raises(ValueError, match='FlatHead has no conv_seg, and its forward returns .2, 64., expected logits'):
        tiny.losses_of(distillation(teacher, dict(loss_kd=dict(type='KDLoss'))), heads.batch(64))
    with pytest.raises(ValueError, match='FlatHead has no conv_seg, so its feature is unknown: use losses without'):
        distillation(teacher, dict(loss_cwd=dict(type='CWDFeatureLoss')))


# Mask classifiers


def test_the_logits_of_a_mask_classifier_are_the_logarithm_of_its_class_scores():
    class_scores, masks = torch.randn(2, 5, 4), 3 * torch.randn(2, 5, 2, 3)
    logits = mask_logits(class_scores, masks)
    expected = oracles.mask_classifier(class_scores.numpy(), masks.numpy())
    torch.testing.assert_close(logits.exp(), torch.from_numpy(expected).float())
    assert torch.isfinite(mask_logits(class_scores.half(), masks.half() - 1000)).all()


class StubMaskHead(MaskFormerHead):
    """Has the interface of a mask classifier, without MMDetection."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.num_classes = self.out_channels = 3
        self.align_corners = False
        self.classes = nn.Linear(64, 5 * 4)
        self.masks = nn.Conv2d(64, 5, 1)

    def forward(self, features, batch_data_samples):
        assert [sample.batch_input_shape for sample in batch_data_samples] == [(64, 64)] * len(features[-1])
        scores = self.classes(features[-1].mean((2, 3))).view(-1, 5, 4)
        masks = self.masks(features[-1])
        return [2 * scores, scores], [2 * masks, masks]


def test_a_mask_classifier_teaches_by_the_logits_of_its_last_layer():
    teacher = network('PSPNet')
    teacher.decode_head = StubMaskHead()
    model = distillation(teacher, dict(loss_kd=dict(type='KDLoss')))
    assert torch.isfinite(tiny.losses_of(model, heads.batch(64))['distill.loss_kd'])
    with torch.no_grad(), model.distiller.teacher_recorders:
        ((scores, masks),) = forward_heads(teacher, torch.randn(2, 3, 64, 64), auxiliary=False)
    recorded = model.distiller.teacher_recorders.get_recorder('preds').get_record_data()
    assert torch.equal(recorded, mask_logits(scores[-1], masks[-1]))
    fold_batch_norm(teacher)  # compares lists of outputs
    assert not norms_of(teacher.backbone)


@pytest.mark.skipif(HAS_MMDET, reason='MMDetection is installed')
@pytest.mark.parametrize('name', ['MaskFormer', 'Mask2Former'])
def test_without_mmdetection_a_mask_classifier_says_what_to_install(name):
    with pytest.raises(ImportError, match='need MMDetection, but it is not installed .*: pip install mmdet==3.3.0'):
        network(name)


@pytest.mark.skipif(not HAS_MMDET, reason='needs MMDetection')
@pytest.mark.parametrize('name', ['MaskFormer', 'Mask2Former'])
def test_with_mmdetection_a_mask_classifier_learns_and_teaches(name):
    tried, partner = heads.NETWORKS[name], heads.PARTNER
    heads.distil(partner, tried, tried.crop)
    heads.distil(tried, partner, tried.crop)


def test_the_weights_of_a_mask_classifier_have_one_value_more_than_there_are_classes():
    for name, others in (('MaskFormer', 150), ('Mask2Former', 19)):
        config = heads.model_config(heads.NETWORKS[name])
        assert resolve_segmentor(config).decode_head.loss_cls.class_weight == [1.0] * others + [0.1]
        assert resolve_segmentor(config, 3).decode_head.loss_cls.class_weight == [1.0, 1.0, 1.0, 0.1]


# Class weights and numbers of classes


@pytest.fixture
def warnings_of_log():
    """Returns the warnings that MMEngine's logger gets."""
    seen = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: seen.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield seen
    logger.removeHandler(handler)


def weights_of(head: dict) -> list:
    return [loss.get('class_weight') for loss in head.loss_decode]


def test_class_weights_of_other_data_are_dropped_with_a_warning(warnings_of_log):
    config = heads.model_config(heads.NETWORKS['PIDNet'])
    assert [weight and len(weight) for weight in weights_of(resolve_segmentor(config, 19).decode_head)] == [
        19,
        19,
        None,
        19,
    ]
    assert not warnings_of_log
    assert weights_of(resolve_segmentor(config, 3).decode_head) == [None] * 4
    assert len(warnings_of_log) == 3
    assert 'class_weight of CrossEntropyLoss in PIDHead has 19 values, but there are 3 classes' in warnings_of_log[0]


@pytest.mark.parametrize(
    ('head', 'kept'),
    [
        (dict(num_classes=3, loss_decode=dict(type='CrossEntropyLoss', class_weight=[1, 2, 3])), True),
        (dict(num_classes=3, loss_decode=dict(type='CrossEntropyLoss', class_weight='weights.npy')), True),
        (dict(num_classes=2, out_channels=1, loss_decode=dict(class_weight=[3], use_sigmoid=True)), True),
        (dict(num_classes=4, loss_decode=dict(class_weight=[3], use_sigmoid=True)), True),
        (dict(num_classes=4, loss_decode=dict(class_weight=[3])), False),
        (dict(loss_decode=dict(type='CrossEntropyLoss', class_weight=[1, 2])), True),
        (dict(num_classes=4, loss_decode=[dict(type='FocalLoss', class_weight=[1, 2])]), False),
        (dict(num_classes=4, loss_se_decode=dict(class_weight=(1, 2))), False),
    ],
)
def test_class_weights_that_fit_are_kept(head, kept):
    resolved = resolve_segmentor(dict(decode_head=head), head.get('num_classes')).decode_head
    losses = next(value for key, value in resolved.items() if key.startswith('loss'))
    assert ('class_weight' in (losses[0] if isinstance(losses, list) else losses)) is kept


def test_the_boundary_head_of_stdc_keeps_its_two_classes():
    config = resolve_segmentor(heads.model_config(heads.NETWORKS['STDC']), 3)
    assert config.decode_head.num_classes == 3
    assert [head.num_classes for head in config.auxiliary_head] == [3, 3, 2]


# Errors in one sentence


def test_a_pidnet_without_a_map_of_edges_names_the_transform(monkeypatch):
    monkeypatch.setattr(heads.GenerateEdge, 'transform', lambda self, results: results)
    with pytest.raises(
        ValueError, match=r"the student fails .*decode_head \(PIDHead\).*dict\(type='GenerateEdge', edge"
    ):
        heads.distil(heads.PARTNER, heads.NETWORKS['PIDNet'], 64)


@pytest.mark.parametrize('role', ['student', 'teacher'])
def test_a_crop_that_is_too_small_for_lraspp_is_an_error_that_says_which_one_is_not(role):
    pair = (heads.PARTNER, heads.NETWORKS['LRASPP'])
    reason = (
        r'decode_head \(LRASPPHead\) .* 49x49 cells, .* crop of 64x64 has 8x8 cells: use a crop of at least 392x392'
    )
    with pytest.raises(ValueError, match=f'the {role} fails on this batch: {reason}'):
        heads.distil(*(pair if role == 'student' else pair[::-1]), 64, fold_teacher=False)


def test_an_image_that_is_too_small_for_folding_is_an_error_that_says_where_its_size_is_set():
    model = network('LRASPP')
    with pytest.raises(
        ValueError, match=r'image of 64x64, on which folding .*\(set its data_preprocessor.size .*392x392'
    ):
        fold_batch_norm(model)


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        ('auxiliary_head.0.in_channels', 1024, r'0 \(SETRUPHead\) has in_channels=1024, but .*in_index=0 have 16 chan'),
        ('auxiliary_head.1.in_index', 4, r'1 \(SETRUPHead\) has in_index=4, but backbone and neck return 4 feature'),
        ('decode_head.in_channels', 8, r'decode_head \(SETRUPHead\) has in_channels=8, but .* have 16 channels'),
    ],
)
def test_a_head_that_does_not_fit_its_backbone_is_named(key, value, message):
    setr = heads.NETWORKS['SETR (PUP)']
    changes = copy.deepcopy(setr.changes)
    *parents, last = key.split('.')
    head = changes
    for parent in parents:
        head = head[parent]
    head[last] = value
    with pytest.raises(ValueError, match=f'the student fails on this batch: .*{message}'):
        heads.distil(heads.PARTNER, setr._replace(changes=changes), 64)


def test_an_error_without_a_known_reason_is_raised_unchanged(monkeypatch):
    model = distillation(network('PSPNet'), dict(loss_kd=dict(type='KDLoss')))

    def fail(*args):
        raise RuntimeError('of another kind')

    monkeypatch.setattr(model.student.decode_head, 'loss_by_feat', fail)
    with pytest.raises(RuntimeError, match='^of another kind$'):
        tiny.losses_of(model, heads.batch(64))


@pytest.mark.parametrize('name', ['SAN', 'VPD'])
@pytest.mark.parametrize('role', ['student', 'teacher'])
def test_what_cannot_be_distilled_is_refused(name, role):
    pair = {**dict(teacher=tiny.pspnet(4), student=tiny.pspnet(4)), role: heads.model_config(heads.NETWORKS[name])}
    with pytest.raises(ValueError, match=f'the {role} is a .*, which cannot be distilled, since it .* has no '):
        tiny.distillation(None, **pair)
