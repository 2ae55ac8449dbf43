distiller = dict(type='SegDistiller', losses=dict(loss_bpkd=dict(type='BPKDLoss')))
