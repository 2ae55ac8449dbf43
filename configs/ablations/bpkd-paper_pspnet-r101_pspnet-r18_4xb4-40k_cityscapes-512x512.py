# The base of Tables 3 to 5 and Figure 3: BPKD with all of the paper's settings.
_base_ = ['../_base_/pairs/pspnet-r101_pspnet-r18_cityscapes-512x512.py', '../_base_/distillers/variants/bpkd_paper.py']
model = dict(distiller=_base_.distiller)
