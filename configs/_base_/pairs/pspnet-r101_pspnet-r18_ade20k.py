_base_ = ['../datasets/ade20k_512x512.py', '../schedules/80k.py', '../default_runtime.py']
model = dict(
    type='SegDistill',
    teacher=dict(cfg_path='mmseg::pspnet/pspnet_r101-d8_4xb4-160k_ade20k-512x512.py'),
    teacher_ckpt='https://download.openmmlab.com/mmsegmentation/v0.5/pspnet/pspnet_r101-d8_512x512_160k_ade20k/'
    'pspnet_r101-d8_512x512_160k_ade20k_20200615_100650-967c316f.pth',
    student=dict(cfg_path='mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py'),
    **_base_.task,
)
