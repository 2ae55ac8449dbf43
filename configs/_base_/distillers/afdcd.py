# The authors' weights for Cityscapes. On ADE20K they use loss_kd weight 0.5, feature_weight 1e-6, contrast_weight 0.04.
distiller = dict(
    type='SegDistiller',
    losses=dict(
        loss_kd=dict(type='KDLoss', weight=1.0, tau=1.0, norm='pixels', cross_entropy=False, standardize=False),
        loss_afdcd=dict(
            type='AfDCDLoss',
            feature_weight=2e-6,
            contrast_weight=0.005,
            mask_ratio=0.75,
            groups=16,
            patch=4,
            pool=4,
            tau=0.07,
            max_grad_norm=15.0,
        ),
    ),
)
