# The control for BPKD: both of its divergences on all cells, without an edge mask.
distiller = dict(
    type='SegDistiller',
    losses=dict(
        loss_kd=dict(type='KDLoss', tau=1.0, weight=5.0, norm='pixels', cross_entropy=False, standardize=False),
        loss_cwd=dict(type='CWDLoss', tau=1.0, weight=5.0),
    ),
)
