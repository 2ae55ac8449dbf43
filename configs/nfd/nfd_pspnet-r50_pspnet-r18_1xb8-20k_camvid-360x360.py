_base_ = ['../_base_/pairs/pspnet-r50_pspnet-r18_camvid.py', '../_base_/distillers/nfd.py']
model = dict(distiller=_base_.distiller)
