# loss_kd and loss_pair follow CIRKD's reimplementation, loss_adversarial follows SKDS. SKDS' authors use
# PixelWiseLoss(weight=10, norm='positions', cross_entropy=True) and PairWiseLoss(weight=0.5, kernel=0.5).
distiller = dict(
    type='SegDistiller',
    losses=dict(
        loss_kd=dict(type='PixelWiseLoss'),
        loss_pair=dict(type='PairWiseLoss', weight=10.0, kernel=2),
        loss_adversarial=dict(type='AdversarialLoss', student_weight=0.1, critic_weight=0.1),
    ),
)
