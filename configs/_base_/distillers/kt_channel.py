# The losses between channels that KT's training uses (seok-hwa/KT, `train_KT.py` and `train_KT.sh`, commit 709743f),
# without the tailoring of features and logits. Its `CriterionKD` has a softmax over positions: it is CWD on the logits.
distiller = dict(
    type='SegDistiller',
    losses=dict(
        loss_cwd=dict(type='CWDLoss', tau=4.0, weight=1.0),
        loss_cwd_aux=dict(type='CWDLoss', tau=4.0, weight=0.4),
        loss_kt=dict(type='KTLoss', divergence='kl', tau=4.0, weight=1.0, delta=1.0),
    ),
    loss_forward_mappings=dict(
        loss_cwd_aux=dict(
            preds_S=dict(recorder='aux_preds', from_student=True),
            preds_T=dict(recorder='aux_preds', from_student=False),
        )
    ),
)
