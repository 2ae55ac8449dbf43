# CIRKD's reimplementation, scripts/train_kd/train_fitnet.sh.
distiller = dict(
    type='SegDistiller',
    losses=dict(
        loss_fitnet=dict(type='FitNetLoss', weight=10.0, bias=False),
        loss_kd=dict(type='KDLoss', weight=1.0, tau=1.0, norm='pixels', cross_entropy=False, standardize=False),
    ),
)
