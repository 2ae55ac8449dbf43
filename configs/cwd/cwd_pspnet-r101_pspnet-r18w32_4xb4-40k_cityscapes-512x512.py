_base_ = ['../_base_/pairs/pspnet-r101_pspnet-r18w32_cityscapes-512x512.py', '../_base_/distillers/cwd.py']
model = dict(distiller=_base_.distiller)
