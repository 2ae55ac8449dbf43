_base_ = [
    '../_base_/pairs/deeplabv3plus-r101_deeplabv3plus-mv2_pascal-context-59.py',
    '../_base_/distillers/stride4/skds.py',
]
model = dict(distiller=_base_.distiller)
