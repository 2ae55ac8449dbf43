_base_ = ['../_base_/pairs/fcn-hr48_fcn-hr18s_cityscapes.py', '../_base_/distillers/bpkd.py']
model = dict(distiller=_base_.distiller)
