_base_ = '../_base_/pairs/deeplabv3plus-r18w32_deeplabv3plus-r18w8_synthetic.py'
model = dict(_delete_=True, type='plain_segmentor', **_base_.task, **_base_.student)
