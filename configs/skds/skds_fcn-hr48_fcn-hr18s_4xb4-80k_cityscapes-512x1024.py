_base_ = ['../_base_/pairs/fcn-hr48_fcn-hr18s_cityscapes.py', '../_base_/distillers/skds.py']
distiller = _base_.distiller
distiller.losses.loss_pair.kernel = 4  # these maps have stride 4: cells of 16 pixels, as of PSPNet's at stride 8
model = dict(distiller=distiller)
