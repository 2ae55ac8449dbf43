distiller = dict(
    type='SegDistiller',
    losses=dict(
        loss_mgd=dict(type='MGDLoss', weight=2e-5, mask_ratio=0.75), loss_cwd=dict(type='CWDLoss', tau=4.0, weight=3.0)
    ),
)
