# DIST for pairs without auxiliary heads, such as FCN with HRNet. The authors' code, too, leaves out the term on the
# auxiliary head for students without one (MobileNetV2; hunto/DIST_KD, `segmentation/train_kd.py`, commit 2418f18).
distiller = dict(
    type='SegDistiller', losses=dict(loss_dist=dict(type='DISTLoss', inter_weight=1.0, intra_weight=1.0, tau=1.0))
)
