_base_ = '../_base_/pairs/pspnet-r101_pspnet-r18_pascal-context-59-512x512.py'
model = dict(_delete_=True, type='plain_segmentor', **_base_.task, **_base_.model.student)
