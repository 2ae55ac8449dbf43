_base_ = ['../_base_/pairs/pspnet-r101_deeplabv3plus-mv2_ade20k.py', '../_base_/distillers/kd.py']
model = dict(distiller=_base_.distiller)
