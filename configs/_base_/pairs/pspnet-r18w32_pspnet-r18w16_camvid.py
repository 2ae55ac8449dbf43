# Narrow networks that train from scratch on two CPU cores. "w32" is the width of the first stage; ResNet-18 has 64.
_base_ = ['../datasets/camvid_192x192.py', '../schedules/short.py', '../default_runtime.py']
resnet18 = 'mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py'
teacher = dict(
    cfg_path=resnet18,
    pretrained=None,
    backbone=dict(base_channels=32, stem_channels=32),
    decode_head=dict(in_channels=256, channels=64),
    auxiliary_head=dict(in_channels=128, channels=32),
)
student = dict(
    cfg_path=resnet18,
    pretrained=None,
    backbone=dict(base_channels=16, stem_channels=16),
    decode_head=dict(in_channels=128, channels=32),
    auxiliary_head=dict(in_channels=64, channels=16),
)
model = dict(
    type='SegDistill',
    teacher=teacher,
    teacher_ckpt='checkpoints/pspnet_r18w32_camvid.pth',
    student=student,
    **_base_.task,
)
optim_wrapper = dict(optimizer=dict(lr=0.04))  # from scratch; the paper's 0.01 is for students with ImageNet weights
