_base_ = ['../_base_/pairs/deeplabv3plus-r18w32_deeplabv3plus-r18w16_camvid.py', '../_base_/distillers/ifvd.py']
model = dict(distiller=_base_.distiller)
