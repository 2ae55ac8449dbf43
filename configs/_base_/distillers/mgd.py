distiller = dict(
    type='SegDistiller',
    losses=dict(
        loss_mgd=dict(type='MaskedGenerativeLoss', weight=2e-5),
        loss_cwd=dict(type='ChannelWiseLoss', tau=4.0, weight=3.0),
    ),
)
