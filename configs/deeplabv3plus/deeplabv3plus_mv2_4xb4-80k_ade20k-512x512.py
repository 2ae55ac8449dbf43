_base_ = '../_base_/pairs/deeplabv3plus-r101_deeplabv3plus-mv2_ade20k.py'
model = dict(_delete_=True, type='plain_segmentor', **_base_.task, **_base_.model.student)
