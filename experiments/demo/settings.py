# Do the settings that the search on CamVid found hold on other data? Tested on scenes that grid.py does not use.
#     python tools/experiment.py experiments/demo/settings.py --jobs 2
_base_ = ['grid.py', '../camvid_stride4/tuned.py']
_bpkd = 'model.distiller.losses.loss_bpkd'
configs = dict(
    _delete_=True,
    cwd=dict(config=_base_.configs.cwd, variants={'default': {}, 'tuned': _base_._tuned['cwd']}),
    bpkd=dict(
        config=_base_.configs.bpkd,
        variants={
            'edge20': {f'{_bpkd}.edge_weight': 20},
            'paper': _base_._paper,
            'edge5': {f'{_bpkd}.edge_weight': 5},
            'edge5_width3': {f'{_bpkd}.edge_weight': 5, f'{_bpkd}.kernel_size': 3},
        },
    ),
)
seeds = [0, 1]
options = {'test_dataloader.dataset.split': 'test'}
work_dir = 'work_dirs/experiments/demo_settings'
results = 'experiments/demo/settings'
