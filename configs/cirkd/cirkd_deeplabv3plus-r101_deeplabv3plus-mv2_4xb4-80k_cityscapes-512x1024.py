_base_ = ['../_base_/pairs/deeplabv3plus-r101_deeplabv3plus-mv2_cityscapes.py', '../_base_/distillers/cirkd.py']
model = dict(distiller=_base_.distiller)
