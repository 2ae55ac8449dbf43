# Table 3, "body P": pixel-wise distillation of the body alone.
_base_ = 'bpkd-paper_pspnet-r101_pspnet-r18_4xb4-40k_cityscapes-512x512.py'
model = dict(distiller=dict(losses=dict(loss_bpkd=dict(edge_weight=0, body_over='classes'))))
