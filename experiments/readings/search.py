# The search for settings: six for each method and each reading of BPKD, on held-out training images.
#     python tools/experiment.py experiments/readings/search.py --jobs 2
# 500 steps, half the length of the comparison, seed 0, on a CPU in bfloat16, one thread for each run. Each method has
# three weights and two learning rates: 0.2, the best one of the student alone in learning_rate.py, and 0.1, since a
# distillation adds to the gradient. "kd_cwd" and "random_cwd" are the controls of "edge": KD on all cells, and on as
# many random cells, beside CWD, with the same weights. CWD with tau 1 and weight 5 is the body term with body_weight 5,
# but for its mask.
_base_ = 'learning_rate.py'
_pair = 'deeplabv3plus-r18w32_deeplabv3plus-r18w16_1xb6-4k_camvid-240x320'
_data = 'configs/_base_/datasets/camvid_240x320_tuning.py'
_loss = 'model.distiller.losses.loss_'
_cwd = {f'{_loss}cwd.tau': 1}
_rates = {'': {}, '_lr0.1': {_base_._lr: 0.1}}
# Weights of the term on the edges (or on all cells, or on random ones) and of the term over positions.
_weights = {'5_5': (5, 5), '2_5': (2, 5), '5_10': (5, 10)}
_bpkd = dict(config=f'configs/bpkd/bpkd_{_pair}.py')


def _variants(*settings):
    """The options of named settings, each with both learning rates."""
    return {f'{name}{suffix}': {**options, **rate} for suffix, rate in _rates.items() for name, options in settings}


def _weighted(edge, body, weights=_weights):
    return _variants(*[(name, {edge: e, body: b}) for name, (e, b) in weights.items()])


configs = dict(
    _delete_=True,
    kd=dict(
        config=f'configs/kd/kd_{_pair}.py',
        variants=_variants(*[(f'weight{w}', {f'{_loss}kd.weight': w}) for w in (1, 3, 10)]),
    ),
    nfd=dict(
        config=f'configs/nfd/nfd_{_pair}.py',
        variants=_variants(*[(f'weight{w}', {f'{_loss}nfd.weight': w}) for w in (3, 10, 30)]),
    ),
    cwd=dict(
        config=f'configs/cwd/cwd_{_pair}.py',
        variants=_variants(*[(f'tau1_weight{w}', {**_cwd, f'{_loss}cwd.weight': w}) for w in (2, 5, 10)]),
    ),
    kd_cwd=dict(
        config=f'configs/cwd/cwd_{_pair}.py',
        merge=[_data, 'experiments/readings/kd.py'],
        options=_cwd,
        variants=_weighted(f'{_loss}kd.weight', f'{_loss}cwd.weight'),
    ),
    random_cwd=dict(
        config=f'configs/cwd/cwd_{_pair}.py',
        merge=[_data, 'experiments/readings/random_cells.py'],
        options=_cwd,
        variants=_weighted(f'{_loss}bpkd.edge_weight', f'{_loss}cwd.weight'),
    ),
    # A mean over the edge cells, without pre-mask: Table 4's row "POM + body".
    edge=dict(
        **_bpkd,
        options={f'{_loss}bpkd.edge_norm': 'edge', f'{_loss}bpkd.pre_mask': False},
        variants=_weighted(f'{_loss}bpkd.edge_weight', f'{_loss}bpkd.body_weight'),
    ),
    # The same, with the pre-mask of the paper's words.
    suppress=dict(
        **_bpkd,
        options={f'{_loss}bpkd.edge_norm': 'edge', f'{_loss}bpkd.pre_mask': 'suppress'},
        variants=_weighted(f'{_loss}bpkd.edge_weight', f'{_loss}bpkd.body_weight'),
    ),
    # Words and appendix B of the paper as a whole. 50 and 20 are the paper's weights.
    paper=dict(
        **_bpkd,
        options={
            f'{_loss}bpkd.edge_norm': 'mean',
            f'{_loss}bpkd.pre_mask': 'suppress',
            f'{_loss}bpkd.body_mask': 'binary',
            f'{_loss}bpkd.class_weight': 'inverse_sqrt_area',
        },
        variants=_weighted(
            f'{_loss}bpkd.edge_weight',
            f'{_loss}bpkd.body_weight',
            {'50_20': (50, 20), '50_5': (50, 5), '15_5': (15, 5)},
        ),
    ),
)
options = {_base_._lr: 0.2}
