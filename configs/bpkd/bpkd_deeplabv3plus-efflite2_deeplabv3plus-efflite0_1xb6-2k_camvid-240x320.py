_base_ = ['../_base_/pairs/deeplabv3plus-efflite2_deeplabv3plus-efflite0_camvid.py', '../_base_/distillers/bpkd.py']
model = dict(distiller=_base_.distiller)
