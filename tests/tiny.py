"""Small networks and batches for tests."""

import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmseg_bpkd.models.algorithms import SegDistill
from mmseg_bpkd.models.segmentors import build_segmentor, resolve_segmentor

RESNET18 = 'mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py'
PREPROCESSOR = dict(
    type='SegDataPreProcessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    pad_val=0,
    seg_pad_val=255,
    size=(32, 32),
)


def pspnet(width: int = 4, **changes) -> dict:
    return dict(
        dict(
            cfg_path=RESNET18,
            pretrained=None,
            backbone=dict(base_channels=width, stem_channels=width),
            decode_head=dict(in_channels=8 * width, channels=2 * width),
            auxiliary_head=dict(in_channels=4 * width, channels=width),
        ),
        **changes,
    )


def save_teacher(path, width: int = 8, num_classes: int = 3, seed: int = 7, preprocessor: dict = PREPROCESSOR) -> str:
    """Writes a checkpoint in MMSegmentation's format, with auxiliary head and random batch norm statistics."""
    torch.manual_seed(seed)
    teacher = build_segmentor(resolve_segmentor(pspnet(width), num_classes, preprocessor))
    for module in teacher.modules():
        if hasattr(module, 'running_mean'):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    torch.save(dict(state_dict=teacher.state_dict()), path)
    return str(path)


def distillation(teacher_ckpt: str, losses: dict | None = None, **changes) -> SegDistill:
    """Builds and initializes a SegDistill with three classes, of a teacher of width 8 and a student of width 4."""
    losses = losses or dict(loss_bpkd=dict(type='BPKDLoss'))
    cfg = dict(
        distiller=dict(type='SegDistiller', losses=losses),
        teacher=pspnet(8),
        student=pspnet(4),
        teacher_ckpt=teacher_ckpt,
        num_classes=3,
        data_preprocessor=PREPROCESSOR,
    )
    torch.manual_seed(1)
    model = SegDistill(**{**cfg, **changes})
    model.init_weights()
    return model


def batch(size: int = 2, extent: int = 32, seed: int = 3) -> dict:
    """Returns the input of `train_step`: raw images, and labels with class boundaries and void."""
    generator = torch.Generator().manual_seed(seed)
    inputs, samples = [], []
    for _ in range(size):
        inputs.append(torch.randint(0, 256, (3, extent, extent), generator=generator, dtype=torch.uint8))
        gt = torch.randint(0, 3, (extent // 8, extent // 8), generator=generator)
        gt = gt.repeat_interleave(8, 0).repeat_interleave(8, 1)
        gt[:2, :2] = 255
        samples.append(
            SegDataSample(
                gt_sem_seg=PixelData(data=gt[None]),
                metainfo=dict(img_shape=(extent, extent), ori_shape=(extent, extent), pad_shape=(extent, extent)),
            )
        )
    return dict(inputs=inputs, data_samples=samples)


def losses_of(model: SegDistill, data: dict | None = None) -> dict:
    """Returns the losses of a training step, with preprocessing."""
    data = model.data_preprocessor(data or batch(), True)
    return model(**data, mode='loss')
