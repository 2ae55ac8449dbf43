_base_ = ['../_base_/pairs/fcn-hr48_fcn-hr18s_pascal-context-59.py', '../_base_/distillers/stride4/skds.py']
model = dict(distiller=_base_.distiller)
