# The recipe of IFVD's authors (YukangWang/IFVD, options.py and networks/kd_model.py), for crops of 512x512 at stride 8.
distiller = dict(
    type='SegDistiller',
    losses=dict(
        loss_kd=dict(type='KDLoss', weight=10.0, norm='elements', tau=1.0, cross_entropy=False, standardize=False),
        loss_ifv=dict(type='IFVDLoss', weight=200.0),
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
