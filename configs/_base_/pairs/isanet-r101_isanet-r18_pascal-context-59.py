# MMSegmentation publishes no checkpoint of this teacher. Train it with
# configs/isanet/isanet_r101_4xb4-80k_pascal-context-59-480x480.py, or set teacher_ckpt to the checkpoint that the
# paper's authors released.
_base_ = ['../datasets/pascal_context_59_480x480.py', '../schedules/80k.py', '../default_runtime.py']
model = dict(
    type='SegDistill',
    teacher=dict(cfg_path='mmseg::isanet/isanet_r101-d8_4xb4-80k_ade20k-512x512.py'),
    teacher_ckpt='work_dirs/isanet_r101_4xb4-80k_pascal-context-59-480x480/iter_80000.pth',
    student=dict(
        cfg_path='mmseg::isanet/isanet_r50-d8_4xb2-80k_cityscapes-512x1024.py',
        pretrained='open-mmlab://resnet18_v1c',
        backbone=dict(depth=18),
        decode_head=dict(in_channels=512, channels=128),
        auxiliary_head=dict(in_channels=256, channels=64),
    ),
    **_base_.task,
)
# The learning rate is the paper's, the weight decay that of its authors' evaluation config.
optim_wrapper = dict(optimizer=dict(lr=0.004, weight_decay=0.0001))
