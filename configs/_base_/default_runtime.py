custom_imports = dict(imports=['mmseg_bpkd.engine'], allow_failed_imports=False)
default_scope = 'mmseg'
env_cfg = dict(
    cudnn_benchmark=True, mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0), dist_cfg=dict(backend='nccl')
)
randomness = dict(seed=0)
custom_hooks = [
    dict(type='ExactResumeHook'),
    dict(type='ClipLossGradHook'),
    dict(type='StopOnNaNHook'),
    dict(type='SaveOnSignalHook'),
    dict(type='ProgressHook'),
]
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='SegLocalVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(by_epoch=False)
log_level = 'INFO'
load_from = None
resume = False
