# The stride-4 pair on CamVid: a student alone, and the same student distilled with each of the 19 methods.
#     python tools/experiment.py experiments/camvid_stride4/grid.py --jobs 2
#     python tools/experiment.py summarize experiments/camvid_stride4/results/4000 --block 15
# Needs data/camvid. The teacher is in checkpoints/. To train it again:
#     CONFIG=configs/deeplabv3plus/deeplabv3plus_r18w32_1xb6-6k_camvid-240x320.py
#     TEACHER=checkpoints/deeplabv3plus_r18w32_camvid.pth
#     python tools/train.py $CONFIG --resume --work-dir work_dirs/teacher
#     python tools/export_student.py $CONFIG work_dirs/teacher/iter_6000.pth $TEACHER --half
_pair = 'deeplabv3plus-r18w32_deeplabv3plus-r18w16_1xb6-4k_camvid-240x320'
_main = ['kd', 'nfd', 'cwd', 'bpkd']
_others = [
    'fitnet', 'at', 'local_affinity', 'skds', 'ifvd', 'cwd_features', 'cirkd', 'apd', 'dist', 'mgd', 'afdcd', 'lskd',
    'aicsd', 'kt_channel', 'wavelet',
]  # fmt: skip
configs = dict(
    student='configs/deeplabv3plus/deeplabv3plus_r18w16_1xb6-4k_camvid-240x320.py',
    **{method: f'configs/{method}/{method}_{_pair}.py' for method in _main},
    **{method: dict(config=f'configs/{method}/{method}_{_pair}.py', seeds=[0, 1]) for method in _others},
)
seeds = [0, 1, 2, 3, 4]
options = {
    'optim_wrapper.type': 'AmpOptimWrapper',  # bfloat16 on a CPU, float16 on a GPU
    'train_cfg.val_interval': 500,  # for curves over the steps
    'default_hooks.checkpoint.save_best': None,  # the last checkpoint is tested
    'test_evaluator.1.half_width': [1, 2, 3, 5, 8, 12],
}
work_dir = 'work_dirs/camvid_stride4/4000'
results = 'experiments/camvid_stride4/results/4000'
