_base_ = ['../_base_/pairs/deeplabv3plus-r18w32_deeplabv3plus-r18w16_camvid.py', '../_base_/distillers/afdcd.py']
distiller = _base_.distiller
distiller.losses.loss_afdcd.update(feature_weight=8e-6, contrast_weight=0.01, pool=1)  # the authors' weights for CamVid
model = dict(distiller=distiller)
