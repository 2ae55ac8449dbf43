distiller = dict(type='SegDistiller', losses=dict(loss_affinity=dict(type='LocalAffinityLoss', weight=10.0)))
