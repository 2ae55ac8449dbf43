_base_ = ['../_base_/pairs/isanet-r101_isanet-r18_pascal-context-59.py', '../_base_/distillers/ifvd.py']
model = dict(distiller=_base_.distiller)
