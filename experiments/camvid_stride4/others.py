# A second run of the 15 methods that main.py does not have. grid_1k.py has the first one, on a GPU.
#     python tools/experiment.py experiments/camvid_stride4/others.py --jobs 2
# The committed results are from a CPU in bfloat16, like those of main.py.
_base_ = 'grid_1k.py'
configs = dict(_delete_=True, **{method: _base_.configs[method] for method in _base_._others})
seeds = [1]
options = {'optim_wrapper.type': 'AmpOptimWrapper'}
work_dir = 'work_dirs/camvid_stride4/others'
results = 'experiments/camvid_stride4/others'
