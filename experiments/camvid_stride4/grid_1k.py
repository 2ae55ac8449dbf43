# Every method with its published recipe, and a short schedule of 1000 steps, for a first look.
#     python tools/experiment.py experiments/camvid_stride4/grid_1k.py --jobs 2
_base_ = 'grid.py'
configs = dict(
    _delete_=True,
    student=_base_.configs.student,
    bpkd=dict(config=_base_.configs.bpkd.config, options=_base_._paper),
    **{m: _base_.configs[m]['config'] for m in _base_._main[:3] + _base_._others},
)
seeds = [0]
options = {
    'train_cfg.max_iters': 1000,
    'param_scheduler.1.end': 1000,
    'train_cfg.val_interval': 1001,  # tested at the end only
}
work_dir = 'work_dirs/camvid_stride4/1000'
results = 'experiments/camvid_stride4/results/1000'
