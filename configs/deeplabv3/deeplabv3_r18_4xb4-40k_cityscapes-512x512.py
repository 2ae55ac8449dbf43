_base_ = '../_base_/pairs/pspnet-r101_deeplabv3-r18_cityscapes-512x512.py'
model = dict(_delete_=True, type='plain_segmentor', **_base_.task, **_base_.model.student)
