_base_ = ['../datasets/ade20k_512x512.py', '../schedules/80k.py', '../default_runtime.py']
model = dict(
    type='SegDistill',
    teacher=dict(cfg_path='mmseg::hrnet/fcn_hr48_4xb4-160k_ade20k-512x512.py'),
    teacher_ckpt='https://download.openmmlab.com/mmsegmentation/v0.5/hrnet/fcn_hr48_512x512_160k_ade20k/'
    'fcn_hr48_512x512_160k_ade20k_20200614_214407-a52fc02c.pth',
    student=dict(cfg_path='mmseg::hrnet/fcn_hr18s_4xb2-80k_cityscapes-512x1024.py'),
    **_base_.task,
)
