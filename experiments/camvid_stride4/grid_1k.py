# The grid with a short schedule, of 1000 steps, for a first look.
#     python tools/experiment.py experiments/camvid_stride4/grid_1k.py --jobs 2
_base_ = 'grid.py'
options = {
    'train_cfg.max_iters': 1000,
    'param_scheduler.1.end': 1000,
    'train_cfg.val_interval': 250,
}
work_dir = 'work_dirs/camvid_stride4/1000'
results = 'experiments/camvid_stride4/results/1000'
