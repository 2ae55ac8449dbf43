# Temperature 2 and weight 9 are those of the authors' code for classification (sunshangquan/logit-standardization-KD,
# `tools/train.py --logit-stand`, commit f6e5aa5). They weigh the cross-entropy by 0.1; here, it keeps its weight of 1.
distiller = dict(
    type='SegDistiller',
    losses=dict(
        loss_lskd=dict(type='KDLoss', weight=9.0, tau=2.0, standardize=True, norm='pixels', cross_entropy=False)
    ),
)
