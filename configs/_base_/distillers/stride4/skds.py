# For feature maps at stride 4. Kernel 4 gives cells of 16 x 16 pixels, as kernel 2 does at stride 8. With kernel 2,
# HRNet on Cityscapes would need a matrix of 8192 x 8192 entries per image.
_base_ = '../skds.py'
distiller = dict(losses=dict(loss_pair=dict(kernel=4)))
