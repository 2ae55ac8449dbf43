_base_ = ['../datasets/pascal_voc12_aug_512x512.py', '../schedules/40k.py', '../default_runtime.py']
model = dict(
    type='SegDistill',
    teacher=dict(cfg_path='mmseg::pspnet/pspnet_r101-d8_4xb4-40k_voc12aug-512x512.py'),
    teacher_ckpt='https://download.openmmlab.com/mmsegmentation/v0.5/pspnet/pspnet_r101-d8_512x512_40k_voc12aug/'
    'pspnet_r101-d8_512x512_40k_voc12aug_20200613_161222-bc933b18.pth',
    student=dict(cfg_path='mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py'),
    **_base_.task,
)
