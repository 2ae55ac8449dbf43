_base_ = ['../_base_/pairs/pspnet-r18w32_pspnet-r18w16_camvid.py', '../_base_/distillers/at.py']
distiller = _base_.distiller
# The authors' weight, 10000, is for maps of 64x128 positions. 312 = 10000 * 16 * 16 / (64 * 128), for crop 128.
distiller.losses.loss_at.weight = 312.0
model = dict(distiller=distiller)
