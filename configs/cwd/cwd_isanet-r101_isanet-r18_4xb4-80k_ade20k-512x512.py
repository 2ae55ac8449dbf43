_base_ = ['../_base_/pairs/isanet-r101_isanet-r18_ade20k.py', '../_base_/distillers/cwd.py']
model = dict(distiller=_base_.distiller)
