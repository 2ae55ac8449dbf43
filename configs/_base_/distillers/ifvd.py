# The weights are those of CIRKD's reimplementation. IFVD's authors use PixelWiseLoss(weight=10, norm='elements') and
# IntraClassLoss(weight=200).
distiller = dict(
    type='SegDistiller',
    losses=dict(
        loss_kd=dict(type='PixelWiseLoss'),
        loss_ifv=dict(type='IntraClassLoss', weight=20.0),
        loss_adversarial=dict(type='AdversarialLoss', student_weight=0.001, critic_weight=0.1),
    ),
)
