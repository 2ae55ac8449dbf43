_base_ = ['../datasets/cityscapes_512x1024.py', '../schedules/80k.py', '../default_runtime.py']
model = dict(
    type='SegDistill',
    teacher=dict(cfg_path='mmseg::hrnet/fcn_hr48_4xb2-160k_cityscapes-512x1024.py'),
    teacher_ckpt='https://download.openmmlab.com/mmsegmentation/v0.5/hrnet/fcn_hr48_512x1024_160k_cityscapes/'
    'fcn_hr48_512x1024_160k_cityscapes_20200602_190946-59b7973e.pth',
    student=dict(cfg_path='mmseg::hrnet/fcn_hr18s_4xb2-80k_cityscapes-512x1024.py'),
    **_base_.task,
)
