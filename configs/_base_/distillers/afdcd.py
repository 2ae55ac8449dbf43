# The authors' weights for Cityscapes. On ADE20K they use loss_kd weight 0.5, feature_weight 1e-6, contrast_weight 0.04.
distiller = dict(
    type='SegDistiller',
    losses=dict(
        loss_kd=dict(type='KDLoss'),
        loss_afdcd=dict(type='AfDCDLoss', feature_weight=2e-6, contrast_weight=0.005),
    ),
)
