# The settings that tuning.py chose: for each method, the one with the highest sum of mIoU and trimap mIoU (3 px).
#     python experiments/camvid_stride4/choose.py
# Two of BPKD are equal within 0.02. Of them, experiments/demo/settings.py has the higher sum for this one.
_loss = 'model.distiller.losses.loss_'
_tuned = dict(
    kd={f'{_loss}kd.weight': 3},
    nfd={f'{_loss}nfd.weight': 30},
    cwd={f'{_loss}cwd.tau': 1, f'{_loss}cwd.weight': 5},
    bpkd={f'{_loss}bpkd.edge_weight': 5},
)
