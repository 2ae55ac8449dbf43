_base_ = '../_base_/pairs/pspnet-r50_pspnet-r18_camvid.py'
model = dict(
    _delete_=True,
    type='PlainSegmentor',
    num_classes=_base_.num_classes,
    data_preprocessor=_base_.data_preprocessor,
    test_cfg=_base_.inference,
    **_base_.teacher,
)
