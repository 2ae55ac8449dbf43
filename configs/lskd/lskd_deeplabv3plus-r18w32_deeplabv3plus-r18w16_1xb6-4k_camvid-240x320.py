_base_ = ['../_base_/pairs/deeplabv3plus-r18w32_deeplabv3plus-r18w16_camvid.py', '../_base_/distillers/lskd.py']
distiller = _base_.distiller
# The first logits of a student from scratch vary little, so the standardization enlarges their gradient. With weight 9,
# that is too much at this learning rate.
distiller.losses.loss_lskd.weight = 1.0
model = dict(distiller=distiller)
