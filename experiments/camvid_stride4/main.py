# The main comparison: five methods, each with the setting that tuning.py chose, and five seeds, at equal steps. The
# student alone also has the steps that fit into BPKD's time: with seed 1, steps took 668 ms and 905 ms (ms_per_step).
#     python tools/experiment.py experiments/camvid_stride4/main.py --jobs 2
#     python tools/experiment.py summarize experiments/camvid_stride4/main --block 15
# The committed results are from a CPU in bfloat16, one thread for each run: about 16 minutes for a distilled student.
_base_ = 'grid.py'
configs = dict(
    _delete_=True,
    student=_base_.configs.student,
    **{method: _base_.configs[method] for method in _base_._main},
    student_same_time=dict(
        config=_base_.configs.student,
        options={'train_cfg.max_iters': 1360, 'param_scheduler.1.end': 1360, 'train_cfg.val_interval': 340},
    ),
)
options = {
    'train_cfg.max_iters': 1000,
    'param_scheduler.1.end': 1000,
    'train_cfg.val_interval': 250,
    'optim_wrapper.type': 'AmpOptimWrapper',
}
work_dir = 'work_dirs/camvid_stride4/main'
results = 'experiments/camvid_stride4/main'
