_base_ = ['../_base_/pairs/upernet-swin-b_upernet-swin-t_ade20k.py', '../_base_/distillers/stride4/skds.py']
model = dict(distiller=_base_.distiller)
