distiller = dict(type='SegDistiller', losses=dict(loss_cwd=dict(type='CWDFeatureLoss', tau=4.0, weight=50.0)))
