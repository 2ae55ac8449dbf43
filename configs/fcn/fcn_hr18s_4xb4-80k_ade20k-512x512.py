_base_ = '../_base_/pairs/fcn-hr48_fcn-hr18s_ade20k.py'
model = dict(_delete_=True, type='plain_segmentor', **_base_.task, **_base_.model.student)
