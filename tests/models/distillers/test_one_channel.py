"""Heads with one channel (sigmoid): the losses see two classes with the same probabilities, and the rest works too."""

import json
import os.path as osp
from glob import glob
from inspect import signature
from pathlib import Path

import catalog
import numpy as np
import oracles
import pytest
import runs
import tiny
import torch
from catalog import make_loss
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import MODELS, TRANSFORMS
from mmengine.runner import Runner
from torch import nn

from mmseg_bpkd.models.distillers.seg_distiller import with_two_classes
from mmseg_bpkd.models.losses import BPKDLoss, DistillLoss
from mmseg_bpkd.models.segmentors import build_segmentor, resolve_segmentor
from mmseg_bpkd.ops.boundary import edge_masks

WITHOUT_MEANING = {  # {name in the catalog: error}
    'lskd': 'standardize=True needs at least 3 classes',
    'bpkd with standardized logits': 'standardize=True needs at least 3 classes',
    'aicsd with normalized rows': r'AICSDLoss\(normalize=True\) needs at least 3 classes',
}
ON_LOGITS = [name for name, make in catalog.LOSSES.items() if 'preds_S' in signature(make().forward).parameters]
WITH_MEANING = [name for name in ON_LOGITS if name not in WITHOUT_MEANING]
# Their value depends on the probabilities only. The others compare the logits of a class over the positions.
OF_PROBABILITIES = {
    'bpkd': dict(body_weight=0),
    'bpkd as in the paper': dict(edge_weight=50, body_weight=0, class_weight=2, edge_norm='paper'),
    'bpkd without PRM': dict(body_weight=0, pre_mask=False),
    'bpkd without POM': dict(body_weight=0, post_mask=False),
    'bpkd with the body over classes': dict(body_over='classes'),
    'kd': {},
    'kd as a mean over elements': dict(norm='elements'),
    'kd as in SKDS': dict(weight=10, norm='positions', cross_entropy=True),
    'local affinity': {},
    'dist': dict(tau=2),
}
CLASS_OF = {'bpkd': 'BPKDLoss', 'kd': 'KDLoss', 'local affinity': 'LocalAffinityLoss', 'dist': 'DISTLoss'}


@MODELS.register_module()
class PlainOneChannelSpy(nn.Module):
    def forward(self, preds_S, preds_T):
        self.received = preds_S, preds_T
        return preds_S.square().mean()


@MODELS.register_module()
class RawOneChannelSpy(DistillLoss):
    one_channel = True

    def forward(self, preds_S, preds_T):
        self.received = preds_S, preds_T
        return preds_S.square().mean()


@TRANSFORMS.register_module()
class VehicleOrNot:
    """Labels of two classes for the drawn scenes: 1 for vehicles and persons. The corner of the image is void."""

    def __call__(self, results: dict) -> dict:
        label = (results['gt_seg_map'] >= 7).astype(np.uint8)
        label[:6, :6] = oracles.VOID
        return dict(results, gt_seg_map=label)


@pytest.fixture(autouse=True)
def two_classes(monkeypatch):
    monkeypatch.setitem(catalog.WIDTHS, 'num_classes', 2)


@pytest.fixture
def given() -> dict:
    """The records of the catalog, with one channel of logits and labels of two classes and void."""
    records = catalog.records()
    for side in 'ST':
        records[f'preds_{side}'] = 2 * records[f'preds_{side}'][:, :1].clone()
    records['gt'][records['gt'] == 2] = 0
    return records


def value_and_gradient(loss, given: dict) -> tuple:
    """Value, and gradient of the student's logits."""
    student = given['preds_S'].detach().requires_grad_()
    value = catalog.value(loss.double(), {**given, 'preds_S': student})
    return value, torch.autograd.grad(value, student)[0]


def shifted(z: torch.Tensor, shift) -> torch.Tensor:
    """Logits of a softmax head with the probabilities of sigmoid(z)."""
    return torch.cat([shift * torch.ones_like(z), shift + z], 1)


# What the losses compute


@pytest.mark.parametrize('name', WITH_MEANING)
def test_a_loss_has_the_value_and_gradient_of_a_softmax_head_with_mean_logit_zero(given, name):
    loss = catalog.LOSSES[name]()
    value, gradient = value_and_gradient(loss, given)
    softmax = {f'preds_{side}': shifted(given[f'preds_{side}'], -given[f'preds_{side}'] / 2) for side in 'ST'}
    expected, of_logits = value_and_gradient(loss, {**given, **softmax})
    assert gradient.abs().sum() > 0
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, of_logits[:, 1:] / 2 - of_logits[:, :1] / 2)


@pytest.mark.parametrize('name', OF_PROBABILITIES)
def test_a_loss_of_probabilities_equals_that_of_every_softmax_head_with_these_probabilities(given, name):
    loss = make_loss(CLASS_OF[name.split(' with')[0].split(' as')[0]], **OF_PROBABILITIES[name])
    value, gradient = value_and_gradient(loss, given)
    softmax = {f'preds_{side}': shifted(given[f'preds_{side}'], torch.randn(2, 1, 4, 5).double()) for side in 'ST'}
    expected, of_logits = value_and_gradient(loss, {**given, **softmax})
    assert gradient.abs().sum() > 0
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, of_logits[:, 1:])


@pytest.mark.parametrize('softmax_side', 'ST')
@pytest.mark.parametrize('name', WITH_MEANING)
def test_a_head_with_two_channels_beside_one_with_one_counts_as_its_log_odds(given, name, softmax_side):
    loss = catalog.LOSSES[name]()
    expected, gradient = value_and_gradient(loss, given)
    record = f'preds_{softmax_side}'
    mixed = {**given, record: shifted(given[record], torch.randn(2, 1, 4, 5).double())}
    value, of_logits = value_and_gradient(loss, mixed)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(of_logits[:, -1:], gradient)
    torch.testing.assert_close(of_logits.sum(1), gradient.sum(1) if softmax_side == 'T' else 0 * of_logits.sum(1))


def assert_equals(loss, given: dict, oracle) -> None:
    """Compares value and gradient of a loss with an oracle, a function of the student's log-odds, (N, h, w)."""
    value, gradient = value_and_gradient(loss, given)
    array = given['preds_S'][:, 0].numpy()
    assert value.item() == pytest.approx(oracle(array), rel=1e-8) and value > 0
    np.testing.assert_allclose(gradient[:, 0], oracles.numerical_gradient(oracle, array), rtol=1e-5, atol=1e-8)


def teacher_of(given: dict) -> np.ndarray:
    return given['preds_T'][:, 0].numpy()


@pytest.mark.parametrize('tau', [1.0, 3.0])
def test_kd_is_the_divergence_of_two_coins(given, tau):
    def expected(z):
        pairs = zip(z.ravel(), teacher_of(given).ravel())
        return 5 * np.mean([oracles.bernoulli_kl(student, teacher, tau) for student, teacher in pairs])

    assert_equals(make_loss('KDLoss', weight=5, tau=tau), given, expected)


@pytest.mark.parametrize('void_edges', [False, True])
@pytest.mark.parametrize('norm', ['class', 'paper'])
@pytest.mark.parametrize('post_mask', [True, False])
def test_both_terms_of_bpkd_equal_the_oracle(given, post_mask, norm, void_edges):
    masks = oracles.edge_masks(given['gt'].numpy(), 2, (4, 5), 3, void_edges)
    alpha, teacher = (0.5, 2.0), teacher_of(given)

    def expected(z):
        edge = body = 0
        for image_S, image_T, of_image in zip(z, teacher, masks):
            phi, terms = np.zeros((4, 5)), []
            for place in np.ndindex(4, 5):
                # logits (-z / 2, z / 2), each multiplied by the mask of its class
                odds = [(of_image[0][place] + of_image[1][place]) / 2 * image[place] for image in (image_S, image_T)]
                phi[place] = oracles.bernoulli_kl(*odds, 2)
            for c in (0, 1):
                on_edge = of_image[c] > 0
                terms.append(alpha[c] * (phi * (of_image[c] if post_mask else on_edge)).sum() / on_edge.sum())
            edge += sum(terms) / (2 if norm == 'class' else 20)
            for c, sign in ((0, -0.5), (1, 0.5)):
                maps = [(sign * image * (1 - of_image[c])).ravel() for image in (image_S, image_T)]
                body += oracles.kl(*maps, 4) / 2
        return (7 * edge + 3 * body) / 2

    loss = BPKDLoss(7, 3, alpha, 3, 2, 4, void_edges=void_edges, edge_norm=norm, post_mask=post_mask)
    assert_equals(loss, given, expected)


def test_channel_wise_distillation_compares_the_maps_of_both_classes(given):
    def expected(z):
        pairs = zip(z, teacher_of(given))
        maps = [(sign * s.ravel() / 2, sign * t.ravel() / 2) for s, t in pairs for sign in (1, -1)]
        return 3 * np.mean([oracles.kl(student, teacher, 4) for student, teacher in maps])

    assert_equals(make_loss('CWDLoss'), given, expected)


def test_local_affinity_equals_the_oracle(given):
    def expected(z):
        maps = [[oracles.binary_inconsistency(image) for image in images] for images in (z, teacher_of(given))]
        return 10 * oracles.mean_square(*map(np.array, maps))

    assert_equals(make_loss('LocalAffinityLoss'), given, expected)


def test_dist_is_the_correlation_of_the_probabilities_over_the_pixels(given):
    def expected(z):
        probabilities = [
            np.array([oracles.sigmoid(x / 2) for x in images.ravel()]) for images in (z, teacher_of(given))
        ]
        return 5 * 2**2 * (1 - oracles.correlation(*probabilities))

    loss = make_loss('DISTLoss', intra_weight=5, tau=2)
    assert_equals(loss, given, expected)
    assert list(loss.terms(given['preds_S'], given['preds_T'])) == ['intra']


def test_aicsd_compares_the_maps_of_both_classes(given):
    def expected(z):
        pair = [
            [oracles.kl(sign * image.ravel() / 2, -sign * image.ravel() / 2, 1) for image in images for sign in (1, -1)]
            for images in (z, teacher_of(given))
        ]
        return 3 * sum((s - t) ** 2 for s, t in zip(*pair)) / 8  # two images with four entries, two of them zero

    assert_equals(make_loss('AICSDLoss', weight=3), given, expected)


def test_logits_of_auxiliary_heads_are_those_of_two_classes_too():
    class BothHeads(DistillLoss):
        def forward(self, preds_S, preds_T, aux_preds_S, aux_preds_T):
            return preds_S, preds_T, aux_preds_S, aux_preds_T

    z = torch.randn(4, 2, 1, 3, 3)
    three_classes = torch.randn(2, 3, 3, 3)  # of one head; the other head is changed all the same
    names = ('preds_S', 'preds_T', 'aux_preds_S', 'aux_preds_T')
    received = with_two_classes(BothHeads(), dict(zip(names, z)))
    for name, logit in zip(names, z):
        torch.testing.assert_close(received[name].softmax(1)[:, 1:], logit.sigmoid())
    mixed = with_two_classes(BothHeads(), dict(zip(names, (three_classes, three_classes, *z[2:]))))
    assert mixed['preds_S'] is mixed['preds_T'] is three_classes
    assert mixed['aux_preds_S'].shape == mixed['aux_preds_T'].shape == (2, 2, 3, 3)


@pytest.mark.parametrize('channels', [1, 2])
@pytest.mark.parametrize('name', WITHOUT_MEANING)
def test_a_loss_without_a_gradient_for_two_classes_is_refused(given, name, channels):
    softmax = {f'preds_{side}': shifted(given[f'preds_{side}'], 0) for side in 'ST'} if channels == 2 else {}
    with pytest.raises(ValueError, match=WITHOUT_MEANING[name]):
        catalog.value(catalog.LOSSES[name](), {**given, **softmax})


@pytest.mark.parametrize('name', WITH_MEANING)
def test_a_head_with_three_classes_beside_one_with_one_channel_is_refused(given, name):
    given['preds_T'] = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    with pytest.raises(ValueError, match=r'\(2, 1, 4, 5\).*\(2, 3, 4, 5\)'):
        catalog.value(catalog.LOSSES[name]().double(), given)


def test_masks_of_the_two_classes_are_equal_unless_void_makes_edges(given):
    gt = given['gt']
    assert (gt == oracles.VOID).any()
    for void_edges in (False, True):
        masks = edge_masks(gt, 2, (4, 5), 3, void_edges=void_edges)
        np.testing.assert_allclose(masks, oracles.edge_masks(gt.numpy(), 2, (4, 5), 3, void_edges))
        assert torch.equal(masks[:, 0], masks[:, 1]) == (not void_edges) and masks.sum() > 0


# Training


def head(channels: int, use_sigmoid: bool = True) -> dict:
    loss = dict(type='CrossEntropyLoss', use_sigmoid=use_sigmoid)
    return dict(out_channels=channels, threshold=0.4 if channels == 1 else None, dropout_ratio=0, loss_decode=loss)


def pspnet(width: int, *settings) -> dict:
    model = tiny.pspnet(width)
    for name in ('decode_head', 'auxiliary_head'):
        model[name] = dict(model[name], **head(*settings))
    return model


def batch() -> dict:
    data = tiny.batch()
    for sample in data['data_samples']:
        gt = sample.gt_sem_seg.data
        gt[gt == 2] = 0
    return data


def all_losses() -> dict:
    """The losses of every method, each once, except those without meaning for two classes."""
    losses = {}
    for path in sorted(glob(osp.join(ROOT, 'configs/_base_/distillers/*.py'))):
        for loss in Config.fromfile(path).distiller.losses.values():
            if not loss.get('standardize') and loss not in losses.values():
                losses[f'loss_{len(losses)}_{loss.type}'] = loss.to_dict()
    for loss in losses.values():
        if loss['type'] == 'CIRKDLoss':
            loss.update(pixel_memory=40, region_memory=40)
    return losses


def built_teacher(channels: int):
    torch.manual_seed(7)
    return build_segmentor(resolve_segmentor(pspnet(8, channels, channels == 1), 2, tiny.PREPROCESSOR))


def as_softmax_head(conv: nn.Conv2d, one_channel: nn.Conv2d) -> None:
    """Sets the weights of a classifier to a random one with the probabilities of `one_channel`."""
    with torch.no_grad():
        for parameter, other in zip(conv.parameters(), one_channel.parameters()):
            first = torch.randn_like(other)
            parameter.copy_(torch.cat([first, first + other]))


def distilled(student_channels: int, teacher_channels: int, like=None):
    """A distillation with all losses, with the other weights of `like`."""
    student = pspnet(4, student_channels, student_channels == 1)
    changes = dict(student=student, teacher=built_teacher(teacher_channels), num_classes=2)
    model = tiny.distillation(None, all_losses(), **changes).train()
    if like is not None:
        for ours, theirs in ((model.student, like.student), (model.teacher, like.teacher)):
            ours.load_state_dict({k: v for k, v in theirs.state_dict().items() if 'conv_seg' not in k}, strict=False)
            if ours.out_channels == theirs.out_channels:
                ours.decode_head.conv_seg.load_state_dict(theirs.decode_head.conv_seg.state_dict())
            else:
                as_softmax_head(ours.decode_head.conv_seg, theirs.decode_head.conv_seg)
        model.distiller.load_state_dict(like.distiller.state_dict())
    return model


def logged(model) -> dict:
    torch.manual_seed(5)
    return {name: value for name, value in tiny.losses_of(model, batch()).items() if name.startswith('distill')}


@pytest.mark.parametrize(('student', 'teacher'), [(1, 2), (2, 1)])
def test_every_method_trains_a_head_with_one_channel_and_a_softmax_head_on_either_side_changes_nothing(
    student, teacher
):
    model = distilled(1, 1)
    mixed = distilled(student, teacher, like=model)
    losses = logged(model)
    weight = model.student.decode_head.conv_seg.weight
    for name, mapping in model.distiller.loss_forward_mappings.items():
        total = sum(value for key, value in losses.items() if f'{key}_'.startswith(f'distill.{name}_'))
        (gradient,) = torch.autograd.grad(total, weight, retain_graph=True, allow_unused=True)
        assert (gradient is not None and gradient.abs().sum() > 0) == ('preds_S' in mapping), name
    values = logged(mixed)
    assert values.keys() == losses.keys() and len(losses) > 20
    for name in losses:
        assert values[name].item() == pytest.approx(losses[name].item(), rel=1e-3, abs=1e-5), name


def test_a_loss_of_another_library_receives_two_classes_and_one_that_declares_it_the_one_channel():
    losses = dict(loss_plain=dict(type='PlainOneChannelSpy'), loss_raw=dict(type='RawOneChannelSpy'))
    changes = dict(student=pspnet(4, 1), teacher=built_teacher(1), num_classes=2)
    model = tiny.distillation(None, losses, **changes).train()
    tiny.losses_of(model, batch())
    plain, raw = (model.distiller.distill_losses[name].received for name in losses)
    for two, one in zip(plain, raw):
        assert one.shape == (2, 1, 4, 4)
        torch.testing.assert_close(two.softmax(1)[:, 1:], one.sigmoid())


def test_student_and_teacher_with_other_numbers_of_classes_are_refused():
    teacher = build_segmentor(resolve_segmentor(tiny.pspnet(8), 3, tiny.PREPROCESSOR))
    model = tiny.distillation(
        None, dict(loss_kd=dict(type='KDLoss')), student=pspnet(4, 1), teacher=teacher, num_classes=2
    )
    with pytest.raises(ValueError, match=r'\(2, 1, 4, 4\) in the student and \(2, 3, 4, 4\).*numbers of classes'):
        tiny.losses_of(model.train(), batch())


def binary_config(folder, model: str) -> Config:
    """The demo on labels of two classes, with heads of one channel: two steps, validation, and drawn predictions."""
    cfg = Config.fromfile(runs.write_config(folder, 2))
    cfg.model.num_classes = 2
    for network in (cfg.model.teacher, cfg.model.student):
        network.decode_head.update(head(1))
        network.auxiliary_head.update(head(1))
    for loader, position in ((cfg.train_dataloader, 2), (cfg.val_dataloader, 1)):
        loader.dataset.pipeline.insert(position, dict(type='VehicleOrNot'))
        loader.dataset.metainfo = dict(classes=('rest', 'vehicle or person'), palette=[[0, 0, 0], [220, 20, 60]])
    teacher = resolve_segmentor(cfg.model.teacher, 2, cfg.model.data_preprocessor)
    torch.save(build_segmentor(teacher).state_dict(), cfg.model.teacher_ckpt)
    if model == 'student':
        common = {key: cfg.model[key] for key in ('num_classes', 'data_preprocessor', 'test_cfg')}
        cfg.model = dict(type='plain_segmentor', **common, **cfg.model.student)
    cfg.default_hooks.visualization = dict(type='DrawPredictionsHook', draw=True, interval=1)
    cfg.work_dir, cfg.log_level = str(folder / 'run'), 'ERROR'
    cfg.experiment_name = cfg.visualizer.name = f'binary {model}'  # MMEngine keeps one visualizer of each name
    return cfg


@pytest.mark.parametrize('model', ['student', 'distillation'])
def test_a_binary_task_trains_validates_and_draws_its_predictions(tmp_path, model):
    runner = Runner.from_cfg(binary_config(tmp_path, model))
    runner.train()
    folder = Path(runner.log_dir) / 'vis_data'
    *steps, results = (json.loads(line) for line in (folder / 'scalars.json').read_text().splitlines())
    assert len(steps) == 2 and all(np.isfinite(step['loss']) for step in steps)
    for metric in ('mIoU', 'trimap/mIoU@3px', 'boundary/mIoU@0.005diag'):
        assert 0 <= results[metric] < 100
    assert results['aAcc'] > 0
    assert len(list((folder / 'vis_image').glob('*.png'))) == 5
