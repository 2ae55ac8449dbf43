# The stride-4 pair on CamVid: a student alone, and the same student distilled with each of the 19 methods.
#     python tools/experiment.py experiments/camvid_stride4/grid.py --jobs 2
#     python tools/experiment.py summarize experiments/camvid_stride4/results/4000 --block 15
# Needs data/camvid. On a CPU, bfloat16 is 1.5 times faster: --cfg-options optim_wrapper.type=AmpOptimWrapper
# The teacher is in checkpoints/. It is iteration 4000 of a schedule of 6000. To train it again:
#     CONFIG=configs/deeplabv3plus/deeplabv3plus_r18w32_1xb6-6k_camvid-240x320.py
#     TEACHER=checkpoints/deeplabv3plus_r18w32_camvid.pth
#     python tools/train.py $CONFIG --resume --work-dir work_dirs/teacher --cfg-options train_cfg.max_iters=4000
#     python tools/export_student.py $CONFIG work_dirs/teacher/iter_4000.pth $TEACHER --half
_base_ = 'tuned.py'
_pair = 'deeplabv3plus-r18w32_deeplabv3plus-r18w16_1xb6-4k_camvid-240x320'
_main = ['kd', 'nfd', 'cwd', 'bpkd']
_others = [
    'fitnet', 'at', 'local_affinity', 'skds', 'ifvd', 'cwd_features', 'cirkd', 'apd', 'dist', 'mgd', 'afdcd', 'lskd',
    'aicsd', 'kt_channel', 'wavelet',
]  # fmt: skip
configs = dict(
    student='configs/deeplabv3plus/deeplabv3plus_r18w16_1xb6-4k_camvid-240x320.py',
    **{m: dict(config=f'configs/{m}/{m}_{_pair}.py', options=_base_._tuned[m]) for m in _main},
    **{m: dict(config=f'configs/{m}/{m}_{_pair}.py', seeds=[0, 1]) for m in _others},
)
seeds = [0, 1, 2, 3, 4]
options = {
    'train_cfg.val_interval': 1000,  # for curves over the steps
    'default_hooks.checkpoint.save_best': None,  # the last checkpoint is tested
    'test_evaluator.1.half_width': [1, 2, 3, 5, 8, 12],
}
work_dir = 'work_dirs/camvid_stride4/4000'
results = 'experiments/camvid_stride4/results/4000'
