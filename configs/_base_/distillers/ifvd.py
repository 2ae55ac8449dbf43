# CIRKD's reimplementation, scripts/train_kd/train_ifvd.sh. variants/ifvd_original.py has the recipe of IFVD's authors.
distiller = dict(
    type='SegDistiller',
    losses=dict(
        loss_kd=dict(type='KDLoss', weight=1.0, tau=1.0, norm='pixels', cross_entropy=False, standardize=False),
        loss_ifv=dict(type='IFVDLoss', weight=20.0),
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
