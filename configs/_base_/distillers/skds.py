# CIRKD's reimplementation, scripts/train_kd/train_skd.sh. variants/skds_original.py has the recipe of SKDS's authors.
distiller = dict(
    type='SegDistiller',
    losses=dict(
        loss_kd=dict(type='KDLoss'),
        loss_pair=dict(type='SKDSPairLoss', weight=10.0, kernel=2),
        loss_adversarial=dict(type='SKDSCriticLoss', student_weight=0.001, critic_weight=0.1),
    ),
)
