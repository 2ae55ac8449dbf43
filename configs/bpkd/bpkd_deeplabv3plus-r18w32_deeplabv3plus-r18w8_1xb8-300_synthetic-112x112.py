_base_ = ['../_base_/pairs/deeplabv3plus-r18w32_deeplabv3plus-r18w8_synthetic.py', '../_base_/distillers/bpkd.py']
model = dict(distiller=_base_.distiller)
