# PSPNet R50 to R18 on CamVid, 20000 iterations from random weights. For a GPU; no run has been made yet.
#     python tools/train.py configs/pspnet/pspnet_r50_1xb8-20k_camvid-360x360.py    # the teacher, first
#     python tools/experiment.py experiments/camvid_r50/grid.py
#     python tools/experiment.py summarize experiments/camvid_r50/results --block 15
# The settings were chosen with the stride-4 pair, on training images.
_base_ = '../camvid_stride4/tuned.py'
_pair = 'pspnet-r50_pspnet-r18_1xb8-20k_camvid-360x360'
configs = dict(
    student='configs/pspnet/pspnet_r18_1xb8-20k_camvid-360x360.py',
    **{m: dict(config=f'configs/{m}/{m}_{_pair}.py', options=_base_._tuned[m]) for m in ['kd', 'nfd', 'cwd', 'bpkd']},
)
seeds = [0, 1, 2, 3, 4]
options = {
    'default_hooks.checkpoint.save_best': None,  # the last checkpoint is tested
    'test_evaluator.1.half_width': [1, 2, 3, 5, 8, 12],
}
work_dir = 'work_dirs/camvid_r50'
results = 'experiments/camvid_r50/results'
