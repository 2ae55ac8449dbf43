_base_ = '../_base_/pairs/upernet-deit-adapter-b_upernet-deit-adapter-t_ade20k.py'
model = dict(_delete_=True, type='plain_segmentor', **_base_.task, **_base_.model.student)
