# CWD as reimplemented by CIRKD, scripts/train_kd/train_cwd.sh: on logits and features, with KD and a critic.
# CIRKD divides the loss on features by the student's width, and CWDFeatureLoss by the teacher's. CIRKD's weight
# 50 is therefore 50 * 512 / 128 = 200 for heads with 512 and 128 channels, such as those of PSPNet R101 and R18. For
# other widths, set model.distiller.losses.loss_cwd_feats.weight to 50 * teacher's / student's.
distiller = dict(
    type='SegDistiller',
    losses=dict(
        loss_kd=dict(type='KDLoss', weight=1.0, tau=1.0, norm='pixels', cross_entropy=False, standardize=False),
        loss_cwd=dict(type='CWDLoss', tau=4.0, weight=3.0),
        loss_cwd_feats=dict(type='CWDFeatureLoss', tau=4.0, weight=200.0),
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
