_base_ = ['../datasets/pascal_context_59_480x480.py', '../schedules/80k.py', '../default_runtime.py']
model = dict(
    type='SegDistill',
    teacher=dict(cfg_path='mmseg::pspnet/pspnet_r101-d8_4xb4-80k_pascal-context-59-480x480.py'),
    teacher_ckpt='https://download.openmmlab.com/mmsegmentation/v0.5/pspnet/'
    'pspnet_r101-d8_480x480_80k_pascal_context_59/'
    'pspnet_r101-d8_480x480_80k_pascal_context_59_20210416_114418-fa6caaa2.pth',
    student=dict(cfg_path='mmseg::mobilenet_v2/mobilenet-v2-d8_deeplabv3plus_4xb2-80k_cityscapes-512x1024.py'),
    **_base_.task,
)
# The learning rate is the paper's, the weight decay that of its authors' evaluation config.
optim_wrapper = dict(optimizer=dict(lr=0.004, weight_decay=0.0001))
