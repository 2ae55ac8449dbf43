_base_ = ['../_base_/pairs/pspnet-r101_pspnet-r18_pascal-context-59-512x512.py', '../_base_/distillers/kd.py']
model = dict(distiller=_base_.distiller)
