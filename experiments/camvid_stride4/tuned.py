# The settings that choose.py finds in the results of tuning.py.
_loss = 'model.distiller.losses.loss_'
_tuned = dict(
    kd={f'{_loss}kd.weight': 3},
    nfd={f'{_loss}nfd.weight': 30},
    cwd={f'{_loss}cwd.tau': 1, f'{_loss}cwd.weight': 5},
    bpkd={f'{_loss}bpkd.edge_weight': 5},
)
# The weights and the normalization of the BPKD paper, read literally.
_paper = {
    f'{_loss}bpkd.edge_weight': 50,
    f'{_loss}bpkd.body_weight': 20,
    f'{_loss}bpkd.class_weight': 2,
    f'{_loss}bpkd.edge_norm': 'paper',
}
