# CIRKD's reimplementation, scripts/train_kd/train_ifvd.sh. variants/ifvd_original.py has the recipe of IFVD's authors.
distiller = dict(
    type='SegDistiller',
    losses=dict(
        loss_kd=dict(type='KDLoss'),
        loss_ifv=dict(type='IFVDLoss', weight=20.0),
        loss_adversarial=dict(type='SKDSCriticLoss', student_weight=0.001, critic_weight=0.1),
    ),
)
