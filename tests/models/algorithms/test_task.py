"""What `task` of a data set says reaches both networks: normalization, number of channels, label of void pixels."""

import pytest
import tiny
import torch
from mmengine.config import Config

from mmseg_bpkd.models.algorithms import seg_distill
from mmseg_bpkd.models.segmentors import build_segmentor, resolve_segmentor

OWN = dict(tiny.PREPROCESSOR, mean=[0.0] * 3, std=[255.0] * 3)
IMAGENET = {key: tiny.PREPROCESSOR[key] for key in ('mean', 'std', 'bgr_to_rgb')}


def checkpoint(folder, meta: dict, channels: int = 3, preprocessor: dict = OWN) -> str:
    torch.manual_seed(7)
    network = build_segmentor(resolve_segmentor(tiny.pspnet(8), 3, preprocessor))
    assert network.backbone.stem[0].in_channels == channels
    path = folder / 'teacher.pth'
    torch.save(dict(state_dict=network.state_dict(), meta=meta), path)
    return str(path)


def seen_by_the_teacher(model, inputs: torch.Tensor) -> torch.Tensor:
    """The normalized image that arrives in the teacher's backbone."""
    seen = []
    hook = model.teacher.backbone.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    data = dict(inputs=list(inputs), data_samples=tiny.batch(len(inputs))['data_samples'])
    tiny.losses_of(model, data)
    hook.remove()
    return seen[0]


def normalized(images: torch.Tensor, mean: list, std: list, bgr_to_rgb: bool) -> torch.Tensor:
    images = images.flip(1) if bgr_to_rgb else images
    return (images - torch.tensor(mean).view(1, -1, 1, 1)) / torch.tensor(std).view(1, -1, 1, 1)


def trained_with(preprocessor: dict, model: str = 'plain_segmentor') -> dict:
    return dict(cfg=Config(dict(model=dict(type=model, data_preprocessor=preprocessor), data_root='x')).pretty_text)


OLD = dict(config='img_norm_cfg = dict(mean=[10.0, 20.0, 30.0], std=[1.0, 2.0, 3.0], to_rgb=True)\nmodel = dict()\n')


@pytest.mark.parametrize(
    ('meta', 'expected'),
    [
        (trained_with(OWN), OWN),
        (trained_with(OWN, 'SegDistill'), OWN),
        (trained_with(tiny.PREPROCESSOR), IMAGENET),
        (trained_with(dict(OWN, bgr_to_rgb=False)), dict(OWN, bgr_to_rgb=False)),
        (OLD, dict(mean=[10.0, 20.0, 30.0], std=[1.0, 2.0, 3.0], bgr_to_rgb=True)),
        ({}, IMAGENET),  # a published checkpoint without a config: that of cfg_path
    ],
    ids=['own', 'distilled', 'ImageNet', 'BGR', 'MMSegmentation 0.x', 'published'],
)
def test_the_teacher_is_normalized_as_it_was_trained(tmp_path, meta, expected):
    model = tiny.distillation(checkpoint(tmp_path, meta), data_preprocessor=OWN)
    images = torch.stack(tiny.batch()['inputs']).float()
    expected = normalized(images, *(expected[key] for key in IMAGENET))
    torch.testing.assert_close(seen_by_the_teacher(model, images), expected)


@pytest.fixture
def lines(monkeypatch):
    """What is logged about normalization."""
    found = []

    def record(message, *_):
        found.append(message)

    monkeypatch.setattr(seg_distill, 'print_log', record)
    return found


def test_the_log_says_which_normalization_the_teacher_has_and_why(tmp_path, lines):
    path = checkpoint(tmp_path, trained_with(tiny.PREPROCESSOR))
    tiny.distillation(path, data_preprocessor=OWN)
    (line,) = lines
    assert 'mean=[123.675, 116.28, 103.53]' in line and f'the config in {path}' in line


def test_a_teacher_that_was_trained_as_the_student_is_not_mentioned_and_costs_nothing(tmp_path, lines):
    model = tiny.distillation(checkpoint(tmp_path, trained_with(OWN)), data_preprocessor=OWN)
    assert model.teacher_scale is None and not lines


def test_the_config_of_the_teacher_wins_with_a_warning(tmp_path, lines):
    teacher = tiny.pspnet(8, data_preprocessor=dict(tiny.PREPROCESSOR, _delete_=True))
    path = checkpoint(tmp_path, trained_with(OWN))
    model = tiny.distillation(path, data_preprocessor=OWN, teacher=teacher)
    (line,) = lines
    assert 'as model.teacher.data_preprocessor says, but was trained with mean=[0.0, 0.0, 0.0]' in line
    assert model.teacher.data_preprocessor.mean.flatten().tolist() == pytest.approx(tiny.PREPROCESSOR['mean'])


def test_the_config_beside_an_exported_checkpoint_says_its_normalization(tmp_path):
    path = checkpoint(tmp_path, {})
    Config(dict(model=dict(type='EncoderDecoder', data_preprocessor=OWN))).dump(tmp_path / 'teacher.py')
    model = tiny.distillation(path, data_preprocessor=tiny.PREPROCESSOR)
    images = torch.stack(tiny.batch()['inputs']).float()
    torch.testing.assert_close(seen_by_the_teacher(model, images), normalized(images, [0.0] * 3, [255.0] * 3, True))


@pytest.mark.parametrize(
    'text',
    [
        '__import__("os").mkdir("executed")',
        'model = dict(data_preprocessor=dict(mean=__import__("os").mkdir("executed"), std=[1.0] * 3))',
        'model = dict(data_preprocessor=dict(mean="a text", std=[1.0, 1.0, 1.0]))',
        'model = ((((',
        'x = ' + '(' * 5000,
        'model = dict(data_preprocessor=dict(mean=[], std=[]))',
    ],
)
def test_a_stored_config_is_not_executed_and_may_be_nonsense(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    tiny.distillation(checkpoint(tmp_path, dict(cfg=text)), data_preprocessor=OWN)
    assert not (tmp_path / 'executed').exists()


# Channels


def channels(count: int) -> dict:
    values = [float(i + 1) for i in range(count)]
    return dict(tiny.PREPROCESSOR, mean=values, std=[50.0] * count, bgr_to_rgb=False)


@pytest.mark.parametrize('count', [1, 4])
@pytest.mark.parametrize('losses', [None, dict(loss_cirkd=dict(type='CIRKDLoss')), dict(loss_apd=dict(type='APDLoss'))])
def test_any_number_of_channels_is_distilled(tmp_path, count, losses):
    path = checkpoint(tmp_path, {}, count, channels(count))
    model = tiny.distillation(path, losses, data_preprocessor=channels(count)).train()
    images = torch.randint(0, 256, (2, count, 32, 32)).float()
    expected = normalized(images, channels(count)['mean'], channels(count)['std'], False)
    torch.testing.assert_close(seen_by_the_teacher(model, images), expected)
    assert model.student.backbone.stem[0].in_channels == count


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(data_preprocessor=dict(channels(4), bgr_to_rgb=True)), 'has bgr_to_rgb=True and 4 means'),
        (dict(student=tiny.pspnet(4, backbone=dict(in_channels=1))), 'in_channels=1, but mean .* has 3 values'),
    ],
)
def test_two_numbers_of_channels_are_an_error(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        tiny.distillation('not read', **changes)


def test_a_teacher_of_another_number_of_channels_is_an_error(tmp_path):
    teacher = tiny.pspnet(8, data_preprocessor=dict(channels(1), _delete_=True))
    with pytest.raises(TypeError, match='student takes images of 3 channels and the teacher of 1'):
        tiny.distillation('not read', teacher=teacher)


def test_a_backbone_for_three_channels_only_is_named():
    mobile = dict(cfg_path='mmseg::mobilenet_v2/mobilenet-v2-d8_pspnet_4xb2-80k_cityscapes-512x1024.py')
    with pytest.raises(ValueError, match='MobileNetV2 takes images of 3 channels only'):
        resolve_segmentor(mobile, 3, channels(4))


def test_a_backbone_inside_a_backbone_reads_the_image_too():
    bisenet = dict(cfg_path='mmseg::bisenetv1/bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024.py')
    assert resolve_segmentor(bisenet, 3, channels(4)).backbone.backbone_cfg.in_channels == 4


def test_images_of_another_number_of_channels_are_an_error_with_both_numbers(tmp_path):
    path = checkpoint(tmp_path, {}, 1, channels(1))
    model = tiny.distillation(path, data_preprocessor=channels(1))
    with pytest.raises(ValueError, match='images have 3 channels, but the network takes 1'):
        tiny.losses_of(model)  # one mean fits three channels, too


# Void


def losses_with_void(teacher_ckpt: str, void: int, method: dict, **changes) -> dict:
    """The losses of a step, of a batch that is smaller than the crop, with the same label and another void."""
    model = tiny.distillation(teacher_ckpt, dict(loss_kd=method), **changes).train()
    data = tiny.batch(extent=24)
    for sample in data['data_samples']:
        gt = sample.gt_sem_seg.data
        gt[gt == 255] = void
    torch.manual_seed(0)
    return tiny.losses_of(model, data)


METHODS = [dict(type='BPKDLoss', body_mask='remove'), *(dict(type=f'{name}Loss') for name in ('CIRKD', 'APD', 'IFVD'))]


@pytest.mark.parametrize('method', METHODS, ids=lambda method: method['type'])
def test_void_of_any_label_is_void_in_heads_losses_and_padding(tmp_path, method):
    teacher_ckpt = tiny.save_teacher(tmp_path / 'teacher.pth')
    expected = losses_with_void(teacher_ckpt, 255, method)
    found = losses_with_void(teacher_ckpt, 250, method, ignore_index=250)
    assert len(expected) > 4 and expected.keys() == found.keys()
    for key, value in expected.items():
        assert torch.equal(value, found[key]), key


def test_the_label_of_void_reaches_every_head_and_the_preprocessor():
    cascade = dict(cfg_path='mmseg::ocrnet/ocrnet_hr18_4xb2-40k_cityscapes-512x1024.py')
    model = resolve_segmentor(cascade, 3, tiny.PREPROCESSOR, ignore_index=0)
    assert [head.ignore_index for head in model.decode_head] == [0, 0] and model.data_preprocessor.seg_pad_val == 0
    knet = dict(cfg_path='mmseg::knet/knet-s3_r50-d8_fcn_8xb2-adamw-80k_ade20k-512x512.py')
    build_segmentor(resolve_segmentor({**knet, 'pretrained': None}, 3, tiny.PREPROCESSOR, ignore_index=0))
