_base_ = ['../_base_/pairs/deeplabv3plus-r18w32_deeplabv3plus-r18w16_camvid.py', '../_base_/distillers/aicsd.py']
model = dict(distiller=_base_.distiller)
heads = ['architecture.decode_head.loss_decode', 'architecture.auxiliary_head.loss_decode']
weights = dict(
    type='AdaptiveLossWeightHook',
    rising=['distiller.distill_losses.loss_icsd', *heads],
    falling=['distiller.distill_losses.loss_kd'],
)
# The third place, because the grid experiments/camvid_stride4/below_student.py names it custom_hooks.2.
custom_hooks = [*_base_.custom_hooks[:2], weights, *_base_.custom_hooks[2:]]
