distiller = dict(
    type='SegDistiller',
    losses=dict(
        loss_kd=dict(type='PixelWiseLoss', weight=10.0, norm='elements'),
        loss_apd=dict(type='AdaptivePerspectiveLoss', map_weight=10.0, centre_weight=10.0),
    ),
)
