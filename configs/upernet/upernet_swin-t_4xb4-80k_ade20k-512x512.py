_base_ = '../_base_/pairs/upernet-swin-b_upernet-swin-t_ade20k.py'
model = dict(_delete_=True, type='plain_segmentor', **_base_.task, **_base_.model.student)
