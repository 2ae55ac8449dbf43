_base_ = '../_base_/pairs/deeplabv3plus-r101_deeplabv3plus-mv2_pascal-context-59.py'
model = dict(_delete_=True, type='plain_segmentor', **_base_.task, **_base_.model.student)
