_base_ = '../_base_/pairs/upernet-deit-adapter-b_upernet-deit-adapter-t_ade20k.py'
model = dict(
    _delete_=True,
    type='PlainSegmentor',
    num_classes=_base_.num_classes,
    data_preprocessor=_base_.data_preprocessor,
    test_cfg=_base_.model.test_cfg,
    **_base_.model.student,
)
