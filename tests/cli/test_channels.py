"""Gray images, and images of four channels, from the training of the teacher to a predicted picture."""

import cv2
import numpy as np
import pytest
import tiny
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmseg.registry import DATASETS

from mmseg_bpkd.datasets.images import to_bgr
from mmseg_bpkd.deploy.predict import Predictor, images_of

CONFIG = """
_base_ = ['{root}/configs/_base_/schedules/short.py', '{root}/configs/_base_/default_runtime.py',
          '{root}/configs/_base_/distillers/bpkd.py']
custom_hooks = []
crop_size = (32, 32)
task = dict(
    num_classes=3, test_cfg=dict(mode='whole'), data_preprocessor=dict(
        type='SegDataPreProcessor', mean=[100.0] * {channels}, std=[50.0] * {channels}, bgr_to_rgb=False, pad_val=0,
        seg_pad_val=255, size=crop_size))
load = [dict(type='LoadImageFromFile', color_type={color_type!r}), dict(type='LoadCheckedAnnotations', num_classes=3)]
augment = [
    dict(type='RandomResize', scale=(40, 40), ratio_range=(0.8, 1.2), keep_ratio=True),
    dict(type='FastRandomCrop', crop_size=crop_size), dict(type='RandomFlip', prob=0.5),
    dict(type='FastPhotoMetricDistortion')]
data = dict(type='BaseSegDataset', data_root={folder!r}, img_suffix='.png', metainfo=dict(
    classes=('a', 'b', 'c'), palette=[[255, 0, 0], [0, 255, 0], [0, 0, 255]]),
    )
pack = [dict(type='PackSegInputs')]
train_dataloader = dict(batch_size=2, num_workers=0, sampler=dict(type='ResumableSampler'), dataset=dict(
    **data, data_prefix=dict(img_path='train/images', seg_map_path='train/labels'),
    pipeline=[dict(type='SeedAugmentation'), *load, *augment, *pack]))
val_dataloader = dict(batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False), dataset=dict(
    **data, data_prefix=dict(img_path='images', seg_map_path='labels'), pipeline=[*load, *pack]))
test_dataloader = val_dataloader
val_evaluator = test_evaluator = [dict(type='SegIoU'), dict(type='TrimapIoU')]
train_cfg = dict(max_iters=2, val_interval=2)
param_scheduler = [dict(type='FallingPolyLR', eta_min=1e-4, power=0.9, begin=0, end=2, by_epoch=False)]
default_hooks = dict(checkpoint=dict(interval=2, save_best=None))
teacher = {teacher}
student = {student}
"""
TEACHER = "model = dict(type='plain_segmentor', **task, **teacher)\n"
DISTILL = """custom_hooks = [dict(type='ExactResumeHook')]
model = dict(type='SegDistill', teacher=teacher, student=student, teacher_ckpt='teacher/iter_2.pth',
             distiller=dict(type='SegDistiller', losses=dict(loss_bpkd=dict(type='BPKDLoss'))), **task)
"""


def write_data(folder, channels: int) -> np.ndarray:
    """Four images of 40x40 pixels with labels for training, and four to test. Returns the first of these."""
    rng = np.random.default_rng(0)
    for split in (folder / 'train', folder):
        for name in ('images', 'labels'):
            (split / name).mkdir(parents=True)
        for i in range(4):
            label = rng.integers(0, 3, (5, 5)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
            image = rng.integers(0, 60, (40, 40, channels)).astype(np.uint8) + 60 * label[..., None]
            cv2.imwrite(str(split / f'labels/{i}.png'), label)
            cv2.imwrite(str(split / f'images/{i}.png'), image)
    return cv2.imread(str(folder / 'images/0.png'), cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize(
    ('image', 'expected'),
    [
        (np.full((1, 1), 7, np.uint8), [7, 7, 7]),
        (np.full((1, 1, 1), 7, np.uint8), [7, 7, 7]),
        (np.uint8([[[1, 2]]]), [1, 1, 1]),
        (np.uint8([[[1, 2, 3]]]), [1, 2, 3]),
        (np.uint8([[[1, 2, 3, 4]]]), [1, 2, 3]),
        (np.uint16([[[0, 2047, 4095]]]), [0, 127, 255]),
        (np.zeros((1, 1, 3), np.float32), [0, 0, 0]),
    ],
)
def test_a_picture_has_three_channels_of_8_bits(image, expected):
    picture = to_bgr(image)
    assert picture.dtype == np.uint8 and picture.tolist() == [[expected]]


@pytest.mark.slow
@pytest.mark.parametrize(('channels', 'color_type'), [(1, 'grayscale'), (4, 'unchanged')])
def test_the_whole_path(bpkd, tmp_path, channels, color_type):
    image = write_data(tmp_path, channels)
    networks = dict(teacher=tiny.pspnet(8), student=tiny.pspnet(4))
    text = CONFIG.format(root=ROOT, folder=str(tmp_path), channels=channels, color_type=color_type, **networks)
    (tmp_path / 'teacher.py').write_text(text + TEACHER)
    (tmp_path / 'distill.py').write_text(text + DISTILL)
    assert not bpkd('check', 'distill.py', '--workers', '0')
    for name in ('teacher', 'distill'):
        assert not bpkd('train', f'{name}.py', '--work-dir', name)
    student = 'distill/iter_2.pth'
    assert not bpkd('test', 'distill.py', student, '--work-dir', 'test', '--show-dir', 'shown')
    assert not bpkd('export', 'distill.py', student, 'student.pth')
    assert not bpkd('export', 'distill.py', student, 'student.onnx', '--format', 'onnx')
    assert not bpkd('complexity', 'distill.py', '--size', '32', '32', '--runs', '1')
    for checkpoint in (student, 'student.onnx'):
        assert not bpkd('predict', 'distill.py', checkpoint, 'images', '--out', 'predictions')
    assert not bpkd('predict', 'student.py', 'student.pth', 'images', '--out', 'predictions2')
    labels = [cv2.imread(f'{folder}/labels/0.png', cv2.IMREAD_UNCHANGED) for folder in ('predictions', 'predictions2')]
    assert (labels[0] == labels[1]).all()
    overlay = cv2.imread('predictions/overlays/0.png').astype(int)
    colors = np.eye(3, dtype=int)[:, ::-1][labels[0]] * 255
    seen = image[..., None].repeat(3, 2) if channels == 1 else image[..., :3]
    assert abs(overlay - (colors + seen) / 2).max() <= 1


@pytest.mark.parametrize(
    ('channels', 'load'),
    [
        (1, dict(color_type='grayscale')),
        (3, dict(color_type='color')),
        (4, dict(color_type='unchanged')),
        (3, dict(color_type=3, to_float32=True)),  # of 16 bits
    ],
    ids=str,
)
def test_an_image_is_predicted_as_it_is_tested(tmp_path, channels, load):
    write_data(tmp_path, channels)
    if load.get('to_float32'):
        image = np.random.default_rng(1).integers(0, 4096, (40, 40, 3)).astype(np.uint16)
        cv2.imwrite(str(tmp_path / 'images/0.png'), image)
    networks = dict(teacher=tiny.pspnet(8), student=tiny.pspnet(4))
    text = CONFIG.format(root=ROOT, folder=str(tmp_path), channels=channels, color_type=load['color_type'], **networks)
    (tmp_path / 'teacher.py').write_text(text + TEACHER)
    cfg = Config.fromfile(tmp_path / 'teacher.py')
    cfg.test_dataloader.dataset.pipeline[0].update(load)
    preprocessor = {key: cfg.task.data_preprocessor[key] for key in ('mean', 'std', 'bgr_to_rgb')}
    checkpoint = tiny.save_teacher(tmp_path / 'x.pth', 8, preprocessor=dict(tiny.PREPROCESSOR, **preprocessor))
    predictor = Predictor(cfg, checkpoint, 'cpu')
    _, image = next(images_of(str(tmp_path / 'images/0.png'), **predictor.decoding))
    sample = pseudo_collate([DATASETS.build(cfg.test_dataloader.dataset)[0]])
    expected = predictor.model.data_preprocessor(sample, False)['inputs']
    assert torch.equal(predictor.preprocess(image), expected) and expected.shape[1] == channels
    if load.get('to_float32'):
        assert expected.max() > 50  # (4095 - 100) / 50: no bit is lost
    assert predictor(image).shape == (40, 40)


def test_an_image_of_another_number_of_channels_is_an_error_with_both(bpkd, tmp_path):
    write_data(tmp_path, 4)
    networks = dict(teacher=tiny.pspnet(8), student=tiny.pspnet(4))
    text = CONFIG.format(root=ROOT, folder=str(tmp_path), channels=4, color_type='color', **networks)
    (tmp_path / 'teacher.py').write_text(text + TEACHER)
    tiny_checkpoint = tiny.save_teacher(tmp_path / 'x.pth', 8, preprocessor=dict(tiny.PREPROCESSOR, **FOUR))
    message = bpkd('predict', 'teacher.py', tiny_checkpoint, 'images')
    assert 'the image has 3 channels, but the network takes 4' in message and "color_type='color'" in message


FOUR = dict(mean=[100.0] * 4, std=[50.0] * 4, bgr_to_rgb=False)
