# Plain KD on all cells, added to the losses of a config.
model = dict(distiller=dict(losses=dict(loss_kd=dict(type='KDLoss'))))
