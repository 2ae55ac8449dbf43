# The paper's weight is unknown to us. 1 was not tuned.
distiller = dict(type='SegDistiller', losses=dict(loss_nfd=dict(type='NFDLoss', weight=1.0)))
