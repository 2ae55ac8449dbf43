# The paper's ablations (Tables 3, 4 and 5), with the setting that tuning.py chose and the schedule of main.py.
#     python tools/experiment.py experiments/camvid_stride4/paper_tables.py --jobs 2
# The whole loss, whose kernel_size is 7, and the student alone are runs of main.py.
_base_ = ['main.py', 'parts.py']
configs = dict(
    _delete_=True,
    bpkd=dict(
        config=_base_.configs.bpkd.config,
        options=_base_._tuned['bpkd'],
        variants={
            **_base_._alone,
            'prm-body': {f'{_base_._bpkd}.post_mask': False},
            'pom-body': {f'{_base_._bpkd}.pre_mask': False},
            **{f'width-{k}': {f'{_base_._bpkd}.kernel_size': k} for k in (3, 5, 10, 15)},
        },
    ),
)
seeds = [0, 1]
work_dir = 'work_dirs/camvid_stride4/paper_tables'
results = 'experiments/camvid_stride4/paper_tables'
