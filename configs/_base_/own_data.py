# For the configs that `bpkd new` writes: a pair with ImageNet weights and a schedule for one GPU. They add the data.
_base_ = ['preprocessing.py', 'evaluators.py', 'schedules/short.py', 'default_runtime.py', 'distillers/bpkd.py']
teacher = dict(cfg_path='mmseg::pspnet/pspnet_r50-d8_4xb2-80k_cityscapes-512x1024.py')
student = dict(cfg_path='mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py')
task = dict(data_preprocessor=_base_.preprocessing, test_cfg=dict(mode='whole'))
model = dict(type='SegDistill', teacher=teacher, student=student, distiller=_base_.distiller, **task)
train_dataloader = dict(batch_size=8, num_workers=2, persistent_workers=True, sampler=dict(type='ResumableSampler'))
val_dataloader = dict(
    batch_size=1, num_workers=2, persistent_workers=True, sampler=dict(type='DefaultSampler', shuffle=False)
)
test_dataloader = val_dataloader
val_evaluator = _base_.evaluators
test_evaluator = _base_.evaluators
param_scheduler = [dict(type='FallingPolyLR', eta_min=1e-4, power=0.9, begin=0, end=20000, by_epoch=False)]
train_cfg = dict(max_iters=20000, val_interval=2000)
default_hooks = dict(checkpoint=dict(interval=1000))
