# The weights are FreeKD's for RetinaNet, which has no config for segmentation (Gumpest/FreeKD, commit e0874f5).
distiller = dict(
    type='SegDistiller',
    losses=dict(loss_wavelet=dict(type='WaveletLoss', detail_weight=1.0, feature_weight=5.0, levels=3)),
)
