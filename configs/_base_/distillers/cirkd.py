# On Pascal VOC, the authors use pixel_weight 0.01 and region_weight 0.01.
distiller = dict(
    type='SegDistiller',
    losses=dict(
        loss_kd=dict(type='KDLoss', weight=1.0, tau=1.0, norm='pixels', cross_entropy=False, standardize=False),
        loss_cirkd=dict(
            type='CIRKDLoss',
            batch_weight=1.0,
            pixel_weight=0.1,
            region_weight=0.1,
            tau=0.1,
            pixel_memory=20000,
            region_memory=2000,
            pixel_contrast=4096,
            region_contrast=1024,
            pixels_per_class=16,
            max_positions=1024,
        ),
    ),
)
