# A student of CWD's paper (arXiv 2011.13256).
_base_ = 'pspnet-r101_pspnet-r18_cityscapes-512x512.py'
model = dict(student=dict(cfg_path='mmseg::deeplabv3/deeplabv3_r18-d8_4xb2-80k_cityscapes-512x1024.py'))
