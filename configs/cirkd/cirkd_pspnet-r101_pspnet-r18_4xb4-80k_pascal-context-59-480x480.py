_base_ = ['../_base_/pairs/pspnet-r101_pspnet-r18_pascal-context-59.py', '../_base_/distillers/cirkd.py']
model = dict(distiller=_base_.distiller)
