# The four students of `make demo`, with three seeds.
#     python tools/experiment.py experiments/demo/grid.py --jobs 2
_pair = 'deeplabv3plus-r18w32_deeplabv3plus-r18w8_1xb8-300_synthetic-112x112'
configs = dict(
    student='configs/deeplabv3plus/deeplabv3plus_r18w8_1xb8-300_synthetic-112x112.py',
    **{method: f'configs/{method}/{method}_{_pair}.py' for method in ('kd', 'cwd', 'bpkd')},
)
seeds = [0, 1, 2]
options = {
    'train_cfg.val_interval': 301,  # tested at the end only
    'default_hooks.checkpoint.save_best': None,
}
work_dir = 'work_dirs/experiments/demo'
results = 'experiments/demo/results'
