# The paper's ablations (Tables 3, 4 and 5), with the setting that tuning.py chose and the schedule of main.py.
#     python tools/experiment.py experiments/camvid_stride4/paper_tables.py --jobs 2
# The whole loss, whose kernel_size is 7, and the student alone are runs of main.py.
_base_ = 'main.py'
_bpkd = 'model.distiller.losses.loss_bpkd'
_parts = {
    'edge-classes': {'body_weight': 0},  # PRM and POM
    'body-positions': {'edge_weight': 0},
    **{f'width-{k}': {'kernel_size': k} for k in (3, 5, 10, 15)},
    'prm-body': {'post_mask': False},
    'pom-body': {'pre_mask': False},
    'prm': {'body_weight': 0, 'post_mask': False},
    'pom': {'body_weight': 0, 'pre_mask': False},
    'edge-positions': {'body_weight': 0, 'edge_over': 'positions'},
    'body-classes': {'edge_weight': 0, 'body_over': 'classes'},
}
configs = dict(
    _delete_=True,
    bpkd=dict(
        config=_base_.configs.bpkd.config,
        options=_base_._tuned['bpkd'],
        variants={
            name: {f'{_bpkd}.{key}': value for key, value in changes.items()} for name, changes in _parts.items()
        },
    ),
)
seeds = [0, 1]
work_dir = 'work_dirs/camvid_stride4/paper_tables'
results = 'experiments/camvid_stride4/paper_tables'
