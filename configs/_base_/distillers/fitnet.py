# CIRKD's reimplementation, scripts/train_kd/train_fitnet.sh.
distiller = dict(
    type='SegDistiller',
    losses=dict(loss_fitnet=dict(type='FitNetLoss', weight=10.0), loss_kd=dict(type='KDLoss')),
)
