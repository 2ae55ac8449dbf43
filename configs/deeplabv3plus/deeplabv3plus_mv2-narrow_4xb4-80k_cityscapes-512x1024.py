# The heads of the Cityscapes students that the paper's authors released are narrower than MMSegmentation's.
_base_ = 'deeplabv3plus_mv2_4xb4-80k_cityscapes-512x1024.py'
model = dict(decode_head=dict(channels=128), auxiliary_head=dict(channels=64))
