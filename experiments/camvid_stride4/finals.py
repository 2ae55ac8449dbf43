# The two best settings of each method in tuning.py, with two more seeds: one run has a spread of several points.
#     python tools/experiment.py experiments/camvid_stride4/finals.py --jobs 2
_base_ = 'tuning.py'
_best = dict(
    kd=['published', 'weight3'],
    nfd=['weight3', 'weight30'],
    cwd=['tau1_weight5', 'tau2'],
    bpkd=['paper', 'edge5'],
)
configs = dict(
    _delete_=True,
    **{
        method: dict(
            config=_base_.configs[method]['config'],
            variants={name: _base_.configs[method]['variants'][name] for name in names},
        )
        for method, names in _best.items()
    },
)
seeds = [1, 2]
