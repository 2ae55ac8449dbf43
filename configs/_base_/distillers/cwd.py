distiller = dict(type='SegDistiller', losses=dict(loss_cwd=dict(type='CWDLoss', tau=4.0, weight=3.0)))
