# On Pascal VOC, the authors use pixel_weight 0.01 and region_weight 0.01.
distiller = dict(
    type='SegDistiller',
    losses=dict(
        loss_kd=dict(type='KDLoss'),
        loss_cirkd=dict(type='CIRKDLoss', batch_weight=1.0, pixel_weight=0.1, region_weight=0.1),
    ),
)
