_base_ = '../_base_/pairs/upernet-deit-adapter-b_upernet-deit-adapter-t_ade20k.py'
model = dict(_delete_=True, type='plain_segmentor', **_base_.task, **_base_.model.teacher)
optim_wrapper = dict(optimizer=dict(lr=6e-5))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, begin=0, end=1500, by_epoch=False),
    dict(type='FallingPolyLR', eta_min=0.0, power=1.0, begin=1500, end=160000, by_epoch=False),
]
train_cfg = dict(max_iters=160000, val_interval=16000)
train_dataloader = dict(batch_size=2)
