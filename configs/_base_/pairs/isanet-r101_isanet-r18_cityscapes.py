_base_ = ['../datasets/cityscapes_512x1024.py', '../schedules/80k.py', '../default_runtime.py']
model = dict(
    type='SegDistill',
    teacher=dict(cfg_path='mmseg::isanet/isanet_r101-d8_4xb2-80k_cityscapes-512x1024.py'),
    teacher_ckpt='https://download.openmmlab.com/mmsegmentation/v0.5/isanet/isanet_r101-d8_512x1024_80k_cityscapes/'
    'isanet_r101-d8_512x1024_80k_cityscapes_20210901_145243-5b99c9b2.pth',
    student=dict(
        cfg_path='mmseg::isanet/isanet_r50-d8_4xb2-80k_cityscapes-512x1024.py',
        pretrained='open-mmlab://resnet18_v1c',
        backbone=dict(depth=18),
        decode_head=dict(in_channels=512, channels=128),
        auxiliary_head=dict(in_channels=256, channels=64),
    ),
    **_base_.task,
)
