# The recipe of SKDS's authors (irfanICMLL/structure_knowledge_distillation, run_train_val.sh and networks/kd_model.py),
# for crops of 512x512 at stride 8. loss_kd is a sum over the images of a process; the authors have 8 on one GPU.
distiller = dict(
    type='SegDistiller',
    losses=dict(
        loss_kd=dict(type='KDLoss', weight=10.0, norm='positions', cross_entropy=True, tau=1.0, standardize=False),
        loss_pair=dict(type='SKDSPairLoss', weight=0.5, kernel=0.5, detach_norm=True),
        loss_adversarial=dict(
            type='SKDSCriticLoss',
            student_weight=0.1,
            critic_weight=0.1,
            critic_optimizer=dict(type='SGD', momentum=0.9, weight_decay=0.0005),
            gradient_penalty=10.0,
            critic_lr=0.0004,
        ),
    ),
)
