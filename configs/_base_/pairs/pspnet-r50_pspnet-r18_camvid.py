# Both networks are trained from scratch, so nothing is downloaded.
_base_ = ['../datasets/camvid_360x360.py', '../schedules/short.py', '../default_runtime.py']
teacher = dict(cfg_path='mmseg::pspnet/pspnet_r50-d8_4xb2-80k_cityscapes-512x1024.py', pretrained=None)
student = dict(cfg_path='mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py', pretrained=None)
model = dict(
    type='SegDistill',
    teacher=teacher,
    teacher_ckpt='work_dirs/pspnet_r50_1xb8-20k_camvid-360x360/iter_20000.pth',
    student=student,
    **_base_.task,
)
param_scheduler = [dict(type='FallingPolyLR', eta_min=1e-4, power=0.9, begin=0, end=20000, by_epoch=False)]
train_cfg = dict(max_iters=20000, val_interval=2000)
default_hooks = dict(checkpoint=dict(interval=1000))
