# CIRKD's reimplementation, scripts/train_kd/train_ifvd.sh. variants/ifvd_original.py has the recipe of IFVD's authors.
distiller = dict(
    type='SegDistiller',
    losses=dict(
        loss_kd=dict(type='PixelWiseLoss'),
        loss_ifv=dict(type='IntraClassLoss', weight=20.0),
        loss_adversarial=dict(type='AdversarialLoss', student_weight=0.001, critic_weight=0.1),
    ),
)
