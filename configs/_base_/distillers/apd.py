distiller = dict(
    type='SegDistiller',
    losses=dict(
        loss_kd=dict(type='KDLoss', weight=10.0, norm='elements'),
        loss_apd=dict(type='APDLoss', map_weight=10.0, centre_weight=10.0),
    ),
)
