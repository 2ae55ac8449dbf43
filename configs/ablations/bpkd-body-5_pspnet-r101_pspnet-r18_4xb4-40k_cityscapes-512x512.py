# Figure 3: body weight 5.
_base_ = 'bpkd-paper_pspnet-r101_pspnet-r18_4xb4-40k_cityscapes-512x512.py'
model = dict(distiller=dict(losses=dict(loss_bpkd=dict(body_weight=5))))
