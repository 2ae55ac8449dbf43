distiller = dict(
    type='SegDistiller',
    losses=dict(
        loss_at=dict(type='ATLoss', weight=10000.0),
        loss_kd=dict(type='KDLoss', weight=1.0, tau=1.0, norm='pixels', cross_entropy=False, standardize=False),
    ),
)
