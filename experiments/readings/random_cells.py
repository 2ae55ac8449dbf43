# KD on as many random cells as there are cells on an edge, with the weights of these cells, added to the losses of a
# config. It is the edge term of "edge" in search.py at other places.
model = dict(
    distiller=dict(
        losses=dict(loss_bpkd=dict(type='BPKDLoss', edges='random', pre_mask=False, edge_norm='edge', body_weight=0))
    )
)
