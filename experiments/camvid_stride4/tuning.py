# The search for hyper-parameters, on a fixed part of CamVid's training images. The validation images are not used.
#     python tools/experiment.py experiments/camvid_stride4/tuning.py --jobs 2
#     python tools/experiment.py summarize experiments/camvid_stride4/tuning --block 15
# Each method has the default that it had before the search, named "published" where its authors give one, and at most
# five others around it. BPKD's was edge_weight 20. All have the same 1000 steps and one seed.
_base_ = 'grid_1k.py'
_pair = 'deeplabv3plus-r18w32_deeplabv3plus-r18w16_1xb6-4k_camvid-240x320'
_kd = 'model.distiller.losses.loss_kd'
_nfd = 'model.distiller.losses.loss_nfd'
_cwd = 'model.distiller.losses.loss_cwd'
_bpkd = 'model.distiller.losses.loss_bpkd'
configs = dict(
    _delete_=True,
    student='configs/deeplabv3plus/deeplabv3plus_r18w16_1xb6-4k_camvid-240x320.py',
    kd=dict(
        config=f'configs/kd/kd_{_pair}.py',
        variants={
            'published': {},
            'weight3': {f'{_kd}.weight': 3},
            'weight10': {f'{_kd}.weight': 10},
            'weight30': {f'{_kd}.weight': 30},
            'tau4': {f'{_kd}.tau': 4},
            'tau4_weight3': {f'{_kd}.tau': 4, f'{_kd}.weight': 3},
        },
    ),
    nfd=dict(
        config=f'configs/nfd/nfd_{_pair}.py',
        variants={
            'today': {},
            'weight0.3': {f'{_nfd}.weight': 0.3},
            'weight3': {f'{_nfd}.weight': 3},
            'weight10': {f'{_nfd}.weight': 10},
            'weight30': {f'{_nfd}.weight': 30},
        },
    ),
    cwd=dict(
        config=f'configs/cwd/cwd_{_pair}.py',
        variants={
            'published': {},
            'weight1': {f'{_cwd}.weight': 1},
            'weight10': {f'{_cwd}.weight': 10},
            'tau1_weight1': {f'{_cwd}.tau': 1, f'{_cwd}.weight': 1},
            'tau1_weight5': {f'{_cwd}.tau': 1, f'{_cwd}.weight': 5},  # MMRazor's on Cityscapes
            'tau2': {f'{_cwd}.tau': 2},
        },
    ),
    bpkd=dict(
        config=f'configs/bpkd/bpkd_{_pair}.py',
        variants={
            'edge20': {f'{_bpkd}.edge_weight': 20},
            'paper': _base_._paper,
            'body1': {f'{_bpkd}.edge_weight': 20, f'{_bpkd}.body_weight': 1},
            'edge5': {f'{_bpkd}.edge_weight': 5},
            'body3_tau4': {f'{_bpkd}.edge_weight': 20, f'{_bpkd}.body_weight': 3, f'{_bpkd}.tau_body': 4},
            'edge5_body3_tau4': {f'{_bpkd}.edge_weight': 5, f'{_bpkd}.body_weight': 3, f'{_bpkd}.tau_body': 4},
        },
    ),
)
seeds = [0]
merge = 'configs/_base_/datasets/camvid_240x320_tuning.py'
work_dir = 'work_dirs/camvid_stride4/tuning'
results = 'experiments/camvid_stride4/tuning'
