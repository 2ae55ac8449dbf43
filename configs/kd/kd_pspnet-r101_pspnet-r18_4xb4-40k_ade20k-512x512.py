_base_ = ['../_base_/pairs/pspnet-r101_pspnet-r18_ade20k-40k.py', '../_base_/distillers/kd.py']
model = dict(distiller=_base_.distiller)
