# Figure 3: inner weight alpha 5, the same for all classes.
_base_ = 'bpkd-paper_pspnet-r101_pspnet-r18_4xb4-40k_cityscapes-512x512.py'
model = dict(distiller=dict(losses=dict(loss_bpkd=dict(class_weight=5))))
