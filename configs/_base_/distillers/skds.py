# CIRKD's reimplementation, scripts/train_kd/train_skd.sh. variants/skds_original.py has the recipe of SKDS's authors.
distiller = dict(
    type='SegDistiller',
    losses=dict(
        loss_kd=dict(type='KDLoss', weight=1.0, tau=1.0, norm='pixels', cross_entropy=False, standardize=False),
        loss_pair=dict(type='SKDSPairLoss', weight=10.0, kernel=2, detach_norm=False),
        loss_adversarial=dict(
            type='SKDSCriticLoss',
            student_weight=0.001,
            critic_weight=0.1,
            gradient_penalty=10.0,
            critic_lr=0.0004,
            critic_optimizer=dict(type='Adam', betas=(0.9, 0.99)),
        ),
    ),
)
