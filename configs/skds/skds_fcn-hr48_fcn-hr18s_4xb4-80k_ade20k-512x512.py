_base_ = ['../_base_/pairs/fcn-hr48_fcn-hr18s_ade20k.py', '../_base_/distillers/stride4/skds.py']
model = dict(distiller=_base_.distiller)
