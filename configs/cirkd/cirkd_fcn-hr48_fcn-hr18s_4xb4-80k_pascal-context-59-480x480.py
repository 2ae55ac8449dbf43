_base_ = ['../_base_/pairs/fcn-hr48_fcn-hr18s_pascal-context-59.py', '../_base_/distillers/cirkd.py']
model = dict(distiller=_base_.distiller)
