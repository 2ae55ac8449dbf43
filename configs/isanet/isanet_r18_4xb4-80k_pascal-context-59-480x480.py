_base_ = '../_base_/pairs/isanet-r101_isanet-r18_pascal-context-59.py'
model = dict(_delete_=True, type='plain_segmentor', **_base_.task, **_base_.model.student)
