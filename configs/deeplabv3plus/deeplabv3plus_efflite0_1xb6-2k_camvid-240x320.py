_base_ = '../_base_/pairs/deeplabv3plus-efflite2_deeplabv3plus-efflite0_camvid.py'
model = dict(_delete_=True, type='plain_segmentor', **_base_.task, **_base_.student)
