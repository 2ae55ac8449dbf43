_base_ = [
    '../_base_/pairs/upernet-deit-adapter-b_upernet-deit-adapter-t_ade20k.py',
    '../_base_/distillers/stride4/skds.py',
]
model = dict(distiller=_base_.distiller)
