_base_ = ['../_base_/pairs/deeplabv3plus-r101_deeplabv3plus-mv2_pascal-context-59.py', '../_base_/distillers/kd.py']
model = dict(distiller=_base_.distiller)
