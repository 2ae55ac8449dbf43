_base_ = ['../_base_/pairs/pspnet-r18w32_pspnet-r18w16_camvid.py', '../_base_/distillers/nfd.py']
model = dict(distiller=_base_.distiller)
