distiller = dict(type='SegDistiller', losses=dict(loss_kd=dict(type='KDLoss')))
