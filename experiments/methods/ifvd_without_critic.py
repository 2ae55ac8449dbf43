_base_ = ['../../configs/_base_/pairs/pspnet-r18w32_pspnet-r18w16_camvid.py', '../../configs/_base_/distillers/ifvd.py']
distiller = _base_.distiller
distiller.losses.pop('loss_adversarial')
model = dict(distiller=distiller)
