_base_ = ['../_base_/pairs/pspnet-r101_deeplabv3plus-mv2_pascal-context-59.py', '../_base_/distillers/ifvd.py']
model = dict(distiller=_base_.distiller)
