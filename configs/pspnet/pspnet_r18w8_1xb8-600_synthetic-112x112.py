_base_ = '../_base_/pairs/pspnet-r18w16_pspnet-r18w8_synthetic.py'
model = dict(
    _delete_=True,
    type='PlainSegmentor',
    num_classes=_base_.num_classes,
    data_preprocessor=_base_.data_preprocessor,
    test_cfg=_base_.inference,
    **_base_.student,
)
