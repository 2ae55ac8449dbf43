_base_ = ['../_base_/pairs/deeplabv3plus-r18w32_deeplabv3plus-r18w16_camvid.py', '../_base_/distillers/at.py']
distiller = _base_.distiller
# The authors' weight, 10000, is for maps of 64x128 positions. Here, maps have 60x80: 10000 * 60 * 80 / (64 * 128).
distiller.losses.loss_at.weight = 5859.0
model = dict(distiller=distiller)
