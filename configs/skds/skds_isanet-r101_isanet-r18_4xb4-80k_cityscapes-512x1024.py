_base_ = ['../_base_/pairs/isanet-r101_isanet-r18_cityscapes.py', '../_base_/distillers/skds.py']
model = dict(distiller=_base_.distiller)
