# checkpoints/deeplabv3plus_r18w32_camvid.pth is iteration 4000 of this schedule.
_base_ = '../_base_/pairs/deeplabv3plus-r18w32_deeplabv3plus-r18w16_camvid.py'
model = dict(_delete_=True, type='plain_segmentor', **_base_.task, **_base_.teacher)
param_scheduler = _base_.param_scheduler
param_scheduler[-1].end = 6000
train_cfg = dict(max_iters=6000)
