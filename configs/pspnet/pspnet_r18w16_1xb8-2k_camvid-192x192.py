_base_ = '../_base_/pairs/pspnet-r18w32_pspnet-r18w16_camvid.py'
model = dict(_delete_=True, type='PlainSegmentor', **_base_.task, **_base_.student)
