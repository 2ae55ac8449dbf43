# The weights of the authors' code (hunto/DIST_KD, `segmentation/train_kd.py`, commit 2418f18).
# For a pair without auxiliary heads, use variants/dist_no_aux.py.
distiller = dict(
    type='SegDistiller',
    losses=dict(
        loss_dist=dict(type='DISTLoss', inter_weight=1.0, intra_weight=1.0, tau=1.0),
        loss_dist_aux=dict(type='DISTLoss', inter_weight=0.4, intra_weight=0.4, tau=1.0),
    ),
    loss_forward_mappings=dict(
        loss_dist_aux=dict(
            preds_S=dict(recorder='aux_preds', from_student=True),
            preds_T=dict(recorder='aux_preds', from_student=False),
        )
    ),
)
