_base_ = '../_base_/pairs/upernet-swin-b_upernet-swin-t_ade20k.py'
model = dict(
    _delete_=True,
    type='PlainSegmentor',
    num_classes=_base_.num_classes,
    data_preprocessor=_base_.data_preprocessor,
    test_cfg=_base_.inference,
    **_base_.model.student,
)
