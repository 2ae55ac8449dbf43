distiller = dict(type='SegDistiller', losses=dict(loss_dist=dict(type='PearsonLoss')))
