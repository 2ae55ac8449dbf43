# The paper's equation 3, taken literally, with the paper's weights.
_base_ = '../bpkd/bpkd_pspnet-r101_pspnet-r18_4xb4-40k_cityscapes-512x512.py'
model = dict(
    distiller=dict(losses=dict(loss_bpkd=dict(edge_norm='paper', edge_weight=50, body_weight=20, class_weight=2)))
)
