# Table 6: a student without ImageNet weights.
_base_ = '../pspnet/pspnet_r18_4xb4-80k_ade20k-512x512.py'
model = dict(pretrained=None)
