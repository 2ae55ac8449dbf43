# Six rows of paper_tables.py with the paper's weights and the schedule of grid_1k.py, beside its run of BPKD.
#     python tools/experiment.py experiments/camvid_stride4/paper_weights.py --jobs 2
_base_ = 'grid_1k.py'
_bpkd = 'model.distiller.losses.loss_bpkd'
configs = dict(
    _delete_=True,
    bpkd=dict(
        config=_base_.configs.bpkd.config,
        options=_base_._paper,
        variants={
            'edge-classes': {f'{_bpkd}.body_weight': 0},
            'body-positions': {f'{_bpkd}.edge_weight': 0},
            'prm': {f'{_bpkd}.body_weight': 0, f'{_bpkd}.post_mask': False},
            'pom': {f'{_bpkd}.body_weight': 0, f'{_bpkd}.pre_mask': False},
            'edge-positions': {f'{_bpkd}.body_weight': 0, f'{_bpkd}.edge_over': 'positions'},
            'body-classes': {f'{_bpkd}.edge_weight': 0, f'{_bpkd}.body_over': 'classes'},
        },
    ),
)
work_dir = 'work_dirs/camvid_stride4/paper_weights'
results = 'experiments/camvid_stride4/paper_weights'
