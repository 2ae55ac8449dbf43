_base_ = '../_base_/pairs/isanet-r101_isanet-r18_ade20k.py'
model = dict(_delete_=True, type='plain_segmentor', **_base_.task, **_base_.model.student)
