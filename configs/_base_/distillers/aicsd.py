# The weight of loss_kd is the authors' (AmirMansurian/AICSD, `--pi_lambda 10`, commit f99949e), that of loss_icsd ours
# (see AICSDLoss). For weights that change over the training, see AdaptiveLossWeightHook and configs/aicsd/.
distiller = dict(
    type='SegDistiller',
    losses=dict(
        loss_kd=dict(type='KDLoss', weight=10.0, norm='elements', tau=1.0, cross_entropy=False, standardize=False),
        loss_icsd=dict(type='AICSDLoss', weight=0.1, tau=1.0, normalize=False),
    ),
)
