_base_ = ['../_base_/pairs/deeplabv3plus-r101_deeplabv3plus-mv2_ade20k.py', '../_base_/distillers/bpkd.py']
model = dict(distiller=_base_.distiller)
