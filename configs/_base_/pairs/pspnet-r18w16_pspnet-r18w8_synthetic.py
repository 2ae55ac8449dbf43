# A small pair for tests and first tries. It trains within minutes on two CPU cores.
_base_ = ['../datasets/synthetic_160x120.py', '../schedules/short.py', '../default_runtime.py']
resnet18 = 'mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py'
teacher = dict(
    cfg_path=resnet18,
    pretrained=None,
    backbone=dict(base_channels=16, stem_channels=16),
    decode_head=dict(in_channels=128, channels=32),
    auxiliary_head=dict(in_channels=64, channels=16),
)
student = dict(
    cfg_path=resnet18,
    pretrained=None,
    backbone=dict(base_channels=8, stem_channels=8),
    decode_head=dict(in_channels=64, channels=16),
    auxiliary_head=dict(in_channels=32, channels=8),
)
model = dict(
    type='SegDistill',
    teacher=teacher,
    teacher_ckpt='work_dirs/pspnet_r18w16_1xb8-600_synthetic-112x112/iter_600.pth',
    student=student,
    **_base_.task,
)
optim_wrapper = dict(optimizer=dict(lr=0.04))
param_scheduler = [dict(type='FallingPolyLR', eta_min=1e-4, power=0.9, begin=0, end=600, by_epoch=False)]
train_cfg = dict(max_iters=600, val_interval=600)
default_hooks = dict(checkpoint=dict(interval=100), logger=dict(interval=20))
