# Table 5: kernel_size 10; the paper calls it the edge width.
_base_ = 'bpkd-paper_pspnet-r101_pspnet-r18_4xb4-40k_cityscapes-512x512.py'
model = dict(distiller=dict(losses=dict(loss_bpkd=dict(kernel_size=10))))
