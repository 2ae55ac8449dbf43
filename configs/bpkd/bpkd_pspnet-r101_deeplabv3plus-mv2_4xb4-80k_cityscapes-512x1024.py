_base_ = ['../_base_/pairs/pspnet-r101_deeplabv3plus-mv2_cityscapes.py', '../_base_/distillers/bpkd.py']
model = dict(distiller=_base_.distiller)
