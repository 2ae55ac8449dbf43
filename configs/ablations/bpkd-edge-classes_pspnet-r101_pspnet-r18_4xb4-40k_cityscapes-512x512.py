# Table 3, "edge P": pixel-wise distillation of the edges alone, with both filters.
_base_ = 'bpkd-paper_pspnet-r101_pspnet-r18_4xb4-40k_cityscapes-512x512.py'
model = dict(distiller=dict(losses=dict(loss_bpkd=dict(body_weight=0))))
