distiller = dict(type='SegDistiller', losses=dict(loss_fitnet=dict(type='FitNetLoss')))
