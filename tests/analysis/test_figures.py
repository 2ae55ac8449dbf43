"""The figures of the paper: their numbers against slow loops, hand calculations and the files that they come from."""

import json
import math
import sys

import numpy as np
import oracles
import pytest
import runs
import tiny
import torch
from mmengine.config import Config
from PIL import Image
from torch import nn

from mmseg_bpkd.analysis.figures import (
    TestImages,
    activation,
    channel_entropy,
    classes_figure,
    curves_figure,
    hires_cam,
    load_networks,
)
from mmseg_bpkd.analysis.figures.entropy import unit_scale
from mmseg_bpkd.analysis.figures.prediction_grid import band, errors
from mmseg_bpkd.cli import main
from mmseg_bpkd.config.reading import read_config
from mmseg_bpkd.models.segmentors import build_segmentor, resolve_segmentor

PLAIN = 'mmseg_bpkd::pspnet/pspnet_r18w8_1xb8-600_synthetic-112x112.py'


def entropy_by_loops(x: np.ndarray) -> np.ndarray:
    """(K, H, W) to (H, W)."""
    out = np.zeros(x.shape[1:])
    for i, j in np.ndindex(out.shape):
        powers = [math.exp(value) for value in x[:, i, j]]
        p = [power / sum(powers) for power in powers]
        out[i, j] = -sum(value * math.log(value) for value in p) / math.log(len(p))
    return out


def test_the_entropy_is_over_the_channels_of_each_position():
    x = torch.randn(2, 5, 3, 4) * 4
    expected = np.stack([entropy_by_loops(image.double().numpy()) for image in x])
    np.testing.assert_allclose(channel_entropy(x).numpy(), expected, rtol=1e-5)


def test_the_entropy_is_one_of_equal_channels_and_zero_of_a_single_active_one():
    x = torch.zeros(1, 4, 1, 2)
    x[0, 2, 0, 1] = 1000
    assert channel_entropy(x).tolist() == [[[1, 0]]]


def test_the_entropy_at_unit_scale_does_not_depend_on_the_scale():
    x = torch.randn(2, 5, 3, 4)
    torch.testing.assert_close(channel_entropy(unit_scale(7 * x)), channel_entropy(unit_scale(x)))
    assert unit_scale(x)[1].square().mean() == pytest.approx(1) and unit_scale(0 * x).abs().max() == 0
    assert (channel_entropy(7 * x) < channel_entropy(x)).all()


def test_one_channel_has_no_entropy():
    with pytest.raises(ValueError, match='at least 2 channels, got 1'):
        channel_entropy(torch.zeros(1, 1, 2, 2))


class Linear(nn.Module):
    """A 1x1 convolution and a 3x3 classifier, without anything between them."""

    def __init__(self, num_classes: int = 2) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 4, 1)
        self.classifier = nn.Conv2d(4, num_classes, 3, padding=1)
        self.unused = nn.Conv2d(3, 4, 1)

    def encode_decode(self, inputs, batch_img_metas):
        return self.classifier(self.features(inputs))


def cam_by_hand(model: Linear, inputs: torch.Tensor, weight: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """The weight of the class is (K, 3, 3). The logit at p is the sum of weight[k, d] * activation[k, p + d - 1]."""
    active = model.features(inputs)[0].detach().double().numpy()
    gradient = np.zeros_like(active)
    for y, x in np.argwhere(pixels):
        for k, dy, dx in np.ndindex(weight.shape):
            i, j = y + dy - 1, x + dx - 1
            if 0 <= i < active.shape[1] and 0 <= j < active.shape[2]:
                gradient[k, i, j] += weight[k, dy, dx] / pixels.sum()
    return np.maximum((active * gradient).sum(0), 0)


def test_hires_cam_of_a_linear_network_equals_a_hand_calculation():
    model, inputs = Linear(), torch.randn(1, 3, 6, 7)
    pixels = np.zeros((6, 7), bool)
    pixels[0:2, 5:] = pixels[4, 1] = True
    cam = hires_cam(model, inputs, 'features', 1, torch.from_numpy(pixels))
    expected = cam_by_hand(model, inputs, model.classifier.weight[1].detach().double().numpy(), pixels)
    np.testing.assert_allclose(cam.numpy(), expected, atol=1e-6)
    assert 0 < (expected > 0).sum() < expected.size / 2 and not cam.requires_grad
    assert model.features.weight.grad is None


def test_hires_cam_of_a_head_with_one_channel_has_both_classes():
    model, inputs = Linear(num_classes=1), torch.randn(1, 3, 6, 7)
    pixels = np.zeros((6, 7), bool)
    pixels[2:5, 2:5] = True
    weight = model.classifier.weight[0].detach().double().numpy()
    for cls, sign in ((1, 1), (0, -1)):
        cam = hires_cam(model, inputs, 'features', cls, torch.from_numpy(pixels))
        np.testing.assert_allclose(cam.numpy(), cam_by_hand(model, inputs, sign * weight, pixels), atol=1e-6)


def test_a_layer_that_the_logits_do_not_need_is_an_error():
    with pytest.raises(ValueError, match="layer 'unused': unused is not used when the network predicts"):
        activation(Linear(), torch.randn(1, 3, 6, 7), 'unused')
    frozen = Linear().requires_grad_(False)
    with pytest.raises(ValueError, match="no gradient reaches layer 'features'"):
        hires_cam(frozen, torch.randn(1, 3, 6, 7), 'features', 0, torch.ones(6, 7, dtype=torch.bool))


@pytest.fixture(scope='module')
def pspnet():
    return build_segmentor(resolve_segmentor(tiny.pspnet(), 3, tiny.PREPROCESSOR)).eval()


@torch.no_grad()
def test_a_stage_and_a_module_can_be_recorded(pspnet):
    inputs = torch.randn(1, 3, 32, 32)
    stages = pspnet.backbone(inputs)
    for layer, expected in (('backbone:0', 0), ('backbone:-1', 3), ('backbone.layer2', 1)):
        kept, logits = activation(pspnet, inputs, layer)
        assert torch.equal(kept, stages[expected])
    assert torch.equal(logits, pspnet.encode_decode(inputs, [dict(img_shape=(32, 32))]))
    assert not pspnet.backbone._forward_hooks


@torch.no_grad()
def test_a_later_layer_in_place_does_not_change_the_record(pspnet):
    inputs = torch.randn(1, 3, 32, 32)
    kept, _ = activation(pspnet, inputs, 'backbone.layer1.0.bn1')
    assert pspnet.backbone.layer1[0].relu.inplace and kept.min() < 0


@pytest.mark.parametrize(
    ('layer', 'message'),
    [
        ('backbone.layer9', "no layer 'backbone.layer9': backbone has .*layer1, layer2, layer3, layer4, not 'layer9'"),
        ('neck', "no layer 'neck': the network has .*backbone, decode_head, auxiliary_head, not 'neck'"),
        ('backbone', "layer 'backbone' has 4 outputs: choose one with backbone:0"),
        ('backbone:4', "layer 'backbone:4' has 4 outputs: choose one"),
        ('backbone.layer1:0', 'has one output: leave out ":0"'),
    ],
)
def test_an_unknown_layer_is_named(pspnet, layer, message):
    with pytest.raises(ValueError, match=message):
        activation(pspnet, torch.randn(1, 3, 32, 32), layer)


@pytest.fixture(scope='module')
def files(tmp_path_factory) -> dict:
    """Paths of the config of a distillation, and of checkpoints of the teacher and of two students."""
    folder = tmp_path_factory.mktemp('networks')
    config = runs.write_config(str(folder))  # with teacher.pth
    students = [tiny.save_teacher(folder / f'{seed}.pth', width=4, num_classes=9, seed=seed) for seed in (1, 2)]
    return dict(config=config, teacher=str(folder / 'teacher.pth'), one=students[0], two=students[1])


@pytest.fixture(scope='module')
def descriptions(files) -> list:
    return [
        f'teacher={files["config"]},teacher',
        *(f'{name}={files["config"]},{files[name]}' for name in ('one', 'two')),
    ]


@pytest.fixture(scope='module')
def networks(descriptions) -> list:
    return load_networks(descriptions)


def test_a_distillation_gives_its_student_or_its_teacher(networks, files):
    for network, path in zip(networks, (files['teacher'], files['one'], files['two'])):
        saved, loaded = torch.load(path)['state_dict'], network.model.state_dict()
        assert loaded.keys() == {key for key in saved if not key.startswith('auxiliary_head.')}
        assert all(torch.equal(value.cpu(), saved[key]) for key, value in loaded.items())


def test_the_teacher_of_a_figure_is_normalized_as_it_was_trained(files, tmp_path):
    own = dict(tiny.PREPROCESSOR, mean=[0.0] * 3, std=[255.0] * 3)
    trained = Config(dict(model=dict(data_preprocessor=own))).pretty_text
    state = torch.load(files['teacher'])['state_dict']
    torch.save(dict(state_dict=state, meta=dict(cfg=trained)), tmp_path / 'own.pth')
    options = {'model.teacher_ckpt': str(tmp_path / 'own.pth')}
    (network,) = load_networks([f'teacher={files["config"]},teacher'], options)
    image = np.full((4, 4, 3), 51, np.uint8)
    assert network.predictor.preprocess(image).unique().item() == pytest.approx(0.2)


def test_void_of_the_images_of_a_figure_is_255(files):
    cfg = read_config(files['config'], {'model.ignore_index': 2})
    _, label = TestImages(cfg)[0]
    _, expected = TestImages(read_config(files['config'], {}))[0]
    assert (expected == 2).any() and (label == np.where(expected == 2, 255, expected)).all()


@pytest.mark.parametrize(
    ('description', 'message'),
    [
        ('{config},{one}', 'expected NAME=CONFIG,CHECKPOINT or NAME=CONFIG,teacher, got'),
        ('one={config}', 'expected NAME=CONFIG,CHECKPOINT'),
        (f'one={PLAIN},teacher', 'has no teacher with a teacher_ckpt'),
        ('one={config},{teacher}', 'teacher.pth is not a checkpoint of this EncoderDecoder'),
    ],
)
def test_a_description_that_cannot_be_loaded_is_an_error(files, description, message):
    with pytest.raises(ValueError, match=message):
        load_networks([description.format(**files)])


def test_two_networks_with_one_name_or_with_other_classes_are_an_error(files, tmp_path):
    one = f'one={files["config"]},{files["one"]}'
    with pytest.raises(ValueError, match="two networks are named 'one'"):
        load_networks([one, one])
    other = dict(torch.load(files['one']), meta=dict(dataset_meta=dict(classes=('a', 'b'), palette=[[0] * 3] * 2)))
    torch.save(other, tmp_path / 'other.pth')
    with pytest.raises(ValueError, match='one and other have different classes: sky, .*; a, b'):
        load_networks([one, f'other={files["config"]},{tmp_path}/other.pth'])


@pytest.fixture
def bpkd(monkeypatch, tmp_path):
    """A function that runs `bpkd figures` in this process, and returns the numbers of the figure, or the error."""
    monkeypatch.setattr(sys, 'path', sys.path[:])
    monkeypatch.setattr(sys, 'argv', sys.argv)

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            main.main(['figures', *arguments, '--out', f'{tmp_path}/figure.png'])
        if stop.value.code:
            return stop.value.code
        assert min(Image.open(tmp_path / 'figure.png').size) > 300
        return json.loads((tmp_path / 'figure.json').read_text())

    return run


def test_the_numbers_of_the_entropy_figure_equal_a_slow_computation(bpkd, networks, descriptions):
    numbers = bpkd('entropy', *descriptions, '--measure', '2', '--images', '1', '--half-width', '2')
    images = TestImages(networks[0].cfg)
    assert (
        numbers['images'] == ['val_00000', 'val_00004']
        and numbers['maps'] == ['val_00001']
        and numbers['layer'] == 'backbone:0'
    )
    samples = [images[0], images[4]]
    for network in networks[:2]:
        entropies, squares = [], []
        for image, _ in samples:
            with torch.no_grad():
                x = network.model.backbone(network.predictor.preprocess(image))[0]
            small = torch.from_numpy(entropy_by_loops(x[0].double().numpy()))
            entropies.append(nn.Upsample(image.shape[:2], mode='bilinear')(small[None, None])[0, 0].numpy())
            squares.append(x.square().mean().item())
        near = [oracles.boundary_band(label, 2) for _, label in samples]
        raw = numbers['networks'][network.name]['raw']
        assert raw['all'] == pytest.approx(np.mean(entropies), rel=1e-4)
        for area, mask in (('near', np.stack(near)), ('far', ~np.stack(near))):  # the scenes have no void
            assert raw[area] == pytest.approx(np.stack(entropies)[mask].mean(), rel=1e-4)
        assert numbers['networks'][network.name]['rms'] == pytest.approx(math.sqrt(np.mean(squares)), rel=1e-4)
        preds = [network.predictor(image) for image, _ in samples]
        expected = np.nanmean(oracles.trimap_iou(preds, [label for _, label in samples], 9, 2))
        assert numbers['networks'][network.name]['trimap/mIoU@2px'] == pytest.approx(expected, abs=0.006)


def test_the_numbers_of_the_grid_are_the_wrong_pixels_in_the_band_and_outside(bpkd, networks, descriptions):
    numbers = bpkd('grid', *descriptions[:2], '--images', '3', '--half-width', '1')
    image, label = TestImages(networks[0].cfg)[3]
    near = oracles.boundary_band(label, 1)
    for network in networks[:2]:
        wrong = network.predictor(image) != label
        expected = dict(near=100 * wrong[near].mean(), far=100 * wrong[~near].mean())
        assert numbers['images']['val_00003'][network.name] == pytest.approx(expected)


def test_void_is_never_wrong():
    label = oracles.grid("""
        0 0 0 1 1 1 .
        0 0 0 1 1 1 .""")
    pred = oracles.grid("""
        1 0 0 1 0 1 1
        0 0 0 1 1 1 0""")
    near = band(label, 1)
    wrong, percent = errors(pred, label, near)
    assert np.argwhere(wrong).tolist() == [[0, 0], [0, 4]] and near.sum() == 4
    assert percent == dict(near=0, far=100 * 2 / 8)
    _, percent = errors(pred[:, :2], label[:, :2], near[:, :2])
    assert percent['near'] is None


def test_the_cams_of_the_figure_are_summarized(bpkd, networks, descriptions):
    numbers = bpkd('cam', *descriptions[:2], '--class-name', 'building', '--count', '2', '--layer', 'backbone.layer1')
    images = TestImages(networks[0].cfg)
    assert len(numbers['images']) == 2 and numbers['class'] == 'building'
    for name, of_image in numbers['images'].items():
        image, label = images[images.find([name])[0]]
        inside = torch.from_numpy(label == 2)
        network = networks[1]
        cam = hires_cam(network.model, network.predictor.preprocess(image), 'backbone.layer1', 2, inside)
        cam = nn.Upsample(image.shape[:2], mode='bilinear')(cam[None, None].cpu())[0, 0]
        expected = dict(maximum=cam.max().item(), inside=(cam[inside].sum() / cam.sum()).item())
        assert of_image['one'] == pytest.approx(expected, rel=1e-4)


def test_what_a_figure_of_networks_cannot_show_is_an_error_of_one_line(bpkd, descriptions):
    student = descriptions[1]
    assert "error: no class 'lorry': the classes are sky, ground" in bpkd('cam', student, '--class-name', 'lorry')
    assert "no layer 'backbone.x'" in bpkd('entropy', student, '--layer', 'backbone.x')
    assert "no test image '77': give a name, such as 'val_00000', or an index from 0 to 4" in bpkd(
        'grid', student, '--images', '77'
    )
    option = '--cfg-options', 'no.such.key=1'
    assert 'no.such.key' in bpkd('grid', student, *option)


CLASSES = ('road', 'car', 'never')
WIDTHS = (1, 3, 8)


def write_results(folder, name: str, seed: int, value: float, widths=WIDTHS) -> dict:
    result = dict(
        name=name,
        seed=seed,
        metrics={'mIoU': value, **{f'trimap/mIoU@{width}px': value - 20 + width for width in widths}},
        per_class={'trimap/IoU@3px': dict(road=value + 1, car=value - seed, never=None)},
    )
    (folder / f'{name}-{seed}.json').write_text(json.dumps(result))
    return result


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / 'results'
    folder.mkdir()
    for name, seed, value in (
        ('kd', 0, 50.0),
        ('student', 0, 40.0),
        ('student', 1, 44.0),
        ('kd', 1, 55.0),
        ('kd', 2, 52.5),
    ):
        write_results(folder, name, seed, value)
    return folder


def test_the_bars_are_the_means_over_the_seeds(results):
    figure, numbers = classes_figure([str(results)], ['student', 'kd'], classes=['car', 'road', 'never'])
    of_kd = numbers['runs']['kd']
    assert of_kd['car']['values'] == [50.0, 54.0, 50.5] and of_kd['never'] == dict(mean=None, std=None, values=[])
    assert of_kd['car']['mean'] == pytest.approx((50 + 54 + 50.5) / 3)
    assert numbers['runs']['student']['road']['std'] == pytest.approx(math.sqrt((2**2 + 2**2) / 1))
    drawn = [[bar.get_height() for bar in bars] for bars in figure.axes[0].containers if hasattr(bars, 'patches')]
    means = [[of_run[cls]['mean'] for cls in ('car', 'road')] for of_run in numbers['runs'].values()]
    assert [bars[:2] for bars in drawn] == means and all(math.isnan(bars[2]) for bars in drawn)


def test_the_curves_are_the_means_of_each_band_and_the_differences_are_paired_by_seed(results):
    figure, numbers = curves_figure([str(results)], against='student')
    assert list(numbers['runs']['kd']) == ['1', '3', '8']
    assert numbers['runs']['kd']['3']['values'] == [33.0, 38.0, 35.5]
    assert numbers['differences'] == {
        'kd': {
            width: dict(mean=10.5, std=pytest.approx(math.sqrt(0.5)), values=[10.0, 11.0]) for width in ('1', '3', '8')
        }
    }
    left, right = figure.axes
    assert next(line.get_ydata().tolist() for line in left.lines if len(line.get_xdata()) == 3) == [
        of_width['mean'] for of_width in numbers['runs']['kd'].values()
    ]
    assert 'pixels' in left.get_xlabel() and '%' in left.get_ylabel() and 'percentage points' in right.get_ylabel()


def test_single_files_and_folders_can_be_mixed(results, tmp_path):
    (tmp_path / 'more').mkdir()
    write_results(tmp_path / 'more', 'bpkd', 0, 60.0)
    _, numbers = curves_figure([str(results), f'{tmp_path}/more/bpkd-0.json'], ['student', 'bpkd'])
    assert numbers['differences']['bpkd']['8']['values'] == [20.0]


def test_results_that_cannot_be_drawn_are_an_error_of_one_line(bpkd, results, tmp_path):
    folder = str(results)
    assert 'student has no class lorry: its classes are road, car, never' in bpkd(
        'classes', folder, '--names', 'student', '--classes', 'lorry'
    )
    assert 'kd-0.json has no trimap/mIoU@2px, only mIoU, trimap/mIoU@1px' in bpkd(
        'classes', folder, '--metric', 'trimap/mIoU@2px'
    )
    assert 'kd-0.json' in (message := bpkd('classes', folder, '--metric', 'mIoU')) and 'no IoU of each class' in message
    assert 'no run named x to compare with' in bpkd('curves', folder, '--against', 'x')
    assert 'no results in nowhere' in bpkd('curves', folder, 'nowhere')
    write_results(results, 'other', 0, 30.0, widths=(1, 2))
    message = bpkd('curves', folder)
    assert 'the bands differ:' in message and 'has 1, 3, 8 px, but' in message and 'other-0.json has 1, 2 px' in message
    write_results(results, 'other', 0, 30.0, widths=(3,))
    assert 'test_evaluator.1.half_width="[1,2,3,5,8,12]"' in bpkd('curves', folder)
