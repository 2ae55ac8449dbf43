distiller = dict(
    type='SegDistiller',
    losses=dict(
        loss_kd=dict(type='KDLoss', weight=10.0, norm='elements', tau=1.0, cross_entropy=False, standardize=False),
        loss_apd=dict(
            type='APDLoss',
            map_weight=10.0,
            center_weight=10.0,
            student_lr_mult=10.0,
            teacher_lr=1e-05,
            teacher_optimizer=dict(type='Adam', betas=(0.9, 0.99)),
        ),
    ),
)
