# A student of CWD's paper (arXiv 2011.13256): half as wide. It has no ImageNet weights, because none are published.
_base_ = 'pspnet-r101_pspnet-r18_cityscapes-512x512.py'
model = dict(
    student=dict(
        pretrained=None,
        backbone=dict(base_channels=32, stem_channels=32),
        decode_head=dict(in_channels=256, channels=64),
        auxiliary_head=dict(in_channels=128, channels=32),
    )
)
