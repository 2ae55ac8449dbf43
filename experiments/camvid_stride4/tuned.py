# The settings that tuning.py chose: for each method, the one with the highest sum of mIoU and trimap mIoU (3 px).
#     python experiments/camvid_stride4/choose.py
_loss = 'model.distiller.losses.loss_'
_tuned = dict(
    kd={f'{_loss}kd.weight': 3},
    nfd={f'{_loss}nfd.weight': 30},
    cwd={f'{_loss}cwd.tau': 1, f'{_loss}cwd.weight': 5},
    bpkd={  # the paper's, read literally
        f'{_loss}bpkd.edge_weight': 50,
        f'{_loss}bpkd.body_weight': 20,
        f'{_loss}bpkd.class_weight': 2,
        f'{_loss}bpkd.edge_norm': 'paper',
    },
)
