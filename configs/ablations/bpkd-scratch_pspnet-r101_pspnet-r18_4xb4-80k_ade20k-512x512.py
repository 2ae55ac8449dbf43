# Table 6: a student without ImageNet weights.
_base_ = '../bpkd/bpkd_pspnet-r101_pspnet-r18_4xb4-80k_ade20k-512x512.py'
model = dict(student=dict(pretrained=None))
