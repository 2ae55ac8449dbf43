# The paper's ablations (Tables 3, 4 and 5) on the stride-4 pair, with a short schedule.
#     python tools/experiment.py experiments/camvid_stride4/paper_tables.py --jobs 2
_base_ = 'grid_1k.py'
_bpkd = 'model.distiller.losses.loss_bpkd'
_parts = {
    'prm': {'body_weight': 0, 'post_mask': False},
    'pom': {'body_weight': 0, 'pre_mask': False},
    'edge-classes': {'body_weight': 0},  # PRM and POM
    'edge-positions': {'body_weight': 0, 'edge_over': 'positions'},
    'body-positions': {'edge_weight': 0},
    'body-classes': {'edge_weight': 0, 'body_over': 'classes'},
    'prm-body': {'post_mask': False},
    'pom-body': {'pre_mask': False},
    **{f'width-{k}': {'kernel_size': k} for k in (3, 5, 10, 15)},
}
configs = dict(
    _delete_=True,
    bpkd=dict(
        config=_base_.configs.bpkd.config,
        variants={
            name: {**_base_._tuned['bpkd'], **{f'{_bpkd}.{key}': value for key, value in changes.items()}}
            for name, changes in _parts.items()
        },
    ),
)
seeds = [0, 1]
work_dir = 'work_dirs/camvid_stride4/paper_tables'
results = 'experiments/camvid_stride4/paper_tables'
