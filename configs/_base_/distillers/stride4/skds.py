# For maps at stride 4: cells of 16 pixels, as of PSPNet's at stride 8. Pooled by 2 only, HRNet's would make a matrix of
# 8192 x 8192 entries for each image.
_base_ = '../skds.py'
distiller = dict(losses=dict(loss_pair=dict(kernel=4)))
