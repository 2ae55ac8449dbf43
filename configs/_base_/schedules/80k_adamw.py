# For transformers, as in MMSegmentation: AdamW, warm-up, linear decay.
_base_ = '80k.py'
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, begin=0, end=1500, by_epoch=False),
    dict(type='FallingPolyLR', eta_min=0.0, power=1.0, begin=1500, end=80000, by_epoch=False),
]
