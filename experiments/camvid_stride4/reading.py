# Other readings of the paper's loss, each beside the setting "edge20" of tuning.py, on the same images. They are not
# candidates for the main comparison, so that BPKD is searched no more than its rivals.
#     python tools/experiment.py experiments/camvid_stride4/reading.py --jobs 2
_base_ = 'tuning.py'
_bpkd = 'model.distiller.losses.loss_bpkd'
configs = dict(
    _delete_=True,
    bpkd=dict(
        config=_base_.configs.bpkd.config,
        options={f'{_bpkd}.edge_weight': 20},
        variants={
            'no_pre_mask': {f'{_bpkd}.pre_mask': False},
            'no_post_mask': {f'{_bpkd}.post_mask': False},
            'void_edges': {f'{_bpkd}.void_edges': True},
            'remove': {f'{_bpkd}.body_mask': 'remove'},
            'remove_body3_tau4': {
                f'{_bpkd}.body_mask': 'remove',
                f'{_bpkd}.body_weight': 3,
                f'{_bpkd}.tau_body': 4,
            },
        },
    ),
)
work_dir = 'work_dirs/camvid_stride4/reading'
results = 'experiments/camvid_stride4/reading'
