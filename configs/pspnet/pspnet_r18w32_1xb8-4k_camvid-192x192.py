_base_ = '../_base_/pairs/pspnet-r18w32_pspnet-r18w16_camvid.py'
model = dict(_delete_=True, type='PlainSegmentor', **_base_.task, **_base_.teacher)
param_scheduler = [dict(type='FallingPolyLR', eta_min=1e-4, power=0.9, begin=0, end=4000, by_epoch=False)]
train_cfg = dict(max_iters=4000)
