distiller = dict(
    type='SegDistiller',
    losses=dict(loss_at=dict(type='ATLoss', weight=10000.0), loss_kd=dict(type='KDLoss')),
)
