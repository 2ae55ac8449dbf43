_base_ = ['../_base_/pairs/pspnet-r18w32_pspnet-r18w16_camvid.py', '../_base_/distillers/at.py']
distiller = _base_.distiller
distiller.losses.loss_at.weight = 312.0  # 10000 is for maps of 64x128; this, as much for the 16x16 of crop 128
model = dict(distiller=distiller)
