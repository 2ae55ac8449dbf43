# Do the settings that the search on CamVid found hold on other data? Tested on scenes that grid.py does not use.
#     python tools/experiment.py experiments/demo/settings.py --jobs 2
# The students of grid.py have the default settings. To test them on the same scenes:
#     PAIR=deeplabv3plus-r18w32_deeplabv3plus-r18w8_1xb8-300_synthetic-112x112
#     for RUN in cwd-0 cwd-1 bpkd-0 bpkd-1; do
#         METHOD=${RUN%-*}
#         python tools/test.py configs/$METHOD/${METHOD}_$PAIR.py \
#             work_dirs/experiments/demo/$RUN/iter_300.pth --work-dir work_dirs/test \
#             --out experiments/demo/settings/${METHOD}_default-${RUN#*-}.json \
#             --cfg-options test_dataloader.dataset.split=test
#     done
_base_ = ['grid.py', '../camvid_stride4/tuned.py']
_bpkd = 'model.distiller.losses.loss_bpkd'
configs = dict(
    _delete_=True,
    cwd=dict(config=_base_.configs.cwd, variants={'tuned': _base_._tuned['cwd']}),
    bpkd=dict(
        config=_base_.configs.bpkd,
        variants={
            'paper': _base_._tuned['bpkd'],
            'edge5': {f'{_bpkd}.edge_weight': 5},
            'edge5_width3': {f'{_bpkd}.edge_weight': 5, f'{_bpkd}.kernel_size': 3},
        },
    ),
)
seeds = [0, 1]
options = {'test_dataloader.dataset.split': 'test'}
work_dir = 'work_dirs/experiments/demo_settings'
results = 'experiments/demo/settings'
