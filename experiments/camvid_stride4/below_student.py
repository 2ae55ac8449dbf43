# Why AICSD and the wavelet loss end below the student alone in grid_1k.py: the same runs with one thing changed, and
# the student alone. The committed results are from a CPU in float32; those of grid_1k.py are from a GPU.
#     python tools/experiment.py experiments/camvid_stride4/below_student.py --jobs 2
_base_ = 'grid_1k.py'
_wavelet = 'model.distiller.losses.loss_wavelet'
configs = dict(
    _delete_=True,
    student=_base_.configs.student,
    aicsd=dict(
        config=_base_.configs.aicsd,
        variants={'constant_weights': {'custom_hooks.2.rising': [], 'custom_hooks.2.falling': []}},
    ),
    wavelet=dict(
        config=_base_.configs.wavelet,
        variants={'tenth': {f'{_wavelet}.detail_weight': 0.1, f'{_wavelet}.feature_weight': 0.5}},
    ),
)
work_dir = 'work_dirs/camvid_stride4/below_student'
results = 'experiments/camvid_stride4/below_student'
