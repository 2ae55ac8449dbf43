_base_ = ['../_base_/pairs/pspnet-r18w32_pspnet-r18w16_camvid.py', '../_base_/distillers/at.py']
distiller = _base_.distiller
# 10000 is for 64x128 maps. 312 is 10000 scaled by the number of positions, for the 16x16 maps of crop 128.
distiller.losses.loss_at.weight = 312.0
model = dict(distiller=distiller)
