_base_ = ['../_base_/pairs/pspnet-r18w16_pspnet-r18w8_synthetic.py', '../_base_/distillers/kd.py']
model = dict(distiller=_base_.distiller)
