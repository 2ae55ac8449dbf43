_base_ = '../_base_/pairs/pspnet-r18w16_pspnet-r18w8_synthetic.py'
model = dict(_delete_=True, type='plain_segmentor', **_base_.task, **_base_.teacher)
