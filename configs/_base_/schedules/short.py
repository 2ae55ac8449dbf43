# For networks trained from scratch on a small data set, on one GPU or on a CPU.
_base_ = '80k.py'
param_scheduler = [dict(type='FallingPolyLR', eta_min=1e-4, power=0.9, begin=0, end=2000, by_epoch=False)]
auto_scale_lr = dict(base_batch_size=8)
train_cfg = dict(max_iters=2000, val_interval=1000)
default_hooks = dict(checkpoint=dict(interval=200))
