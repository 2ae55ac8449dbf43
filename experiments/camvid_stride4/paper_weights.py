# Six rows of paper_tables.py with the paper's weights and the schedule of grid_1k.py, beside its run of BPKD.
#     python tools/experiment.py experiments/camvid_stride4/paper_weights.py --jobs 2
_base_ = ['grid_1k.py', 'parts.py']
configs = dict(
    _delete_=True,
    bpkd=dict(config=_base_.configs.bpkd.config, options=_base_._paper, variants=_base_._alone),
)
work_dir = 'work_dirs/camvid_stride4/paper_weights'
results = 'experiments/camvid_stride4/paper_weights'
