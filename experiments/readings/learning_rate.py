# The learning rate of the student alone, on held-out training images. All runs of this folder then use the best one.
#     python tools/experiment.py experiments/readings/learning_rate.py --jobs 2
# 500 steps, half the length of the comparison, on a CPU in bfloat16, one thread for each run.
_base_ = '../camvid_stride4/grid.py'
_lr = 'optim_wrapper.optimizer.lr'
configs = dict(
    _delete_=True,
    student=dict(
        config=_base_.configs.student, variants={f'lr{lr}': {_lr: lr} for lr in (0.0125, 0.025, 0.05, 0.1, 0.2, 0.4)}
    ),
)
seeds = [0]
options = {
    'train_cfg.max_iters': 500,
    'param_scheduler.1.end': 500,
    'train_cfg.val_interval': 501,  # tested at the end only
    'optim_wrapper.type': 'AmpOptimWrapper',
}
merge = 'configs/_base_/datasets/camvid_240x320_tuning.py'
work_dir = 'work_dirs/readings/search'
results = 'experiments/readings/search'
