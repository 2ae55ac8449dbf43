_base_ = '../_base_/pairs/pspnet-r50_pspnet-r18_camvid.py'
model = dict(_delete_=True, type='plain_segmentor', **_base_.task, **_base_.student)
