# checkpoints/deeplabv3plus_r18w32_synthetic.pth is the end of this schedule.
_base_ = '../_base_/pairs/deeplabv3plus-r18w32_deeplabv3plus-r18w8_synthetic.py'
model = dict(_delete_=True, type='PlainSegmentor', **_base_.task, **_base_.teacher)
param_scheduler = _base_.param_scheduler
param_scheduler[-1].end = 3000
train_cfg = dict(max_iters=3000, val_interval=1000)
