# The Cityscapes students that the paper's authors released have narrower heads than MMSegmentation's.
_base_ = 'deeplabv3plus_mv2_4xb4-80k_cityscapes-512x1024.py'
model = dict(decode_head=dict(channels=128), auxiliary_head=dict(channels=64))
