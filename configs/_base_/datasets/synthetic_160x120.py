# The scenes are drawn on demand, so nothing is downloaded.
_base_ = ['../preprocessing.py', '../evaluators.py']
num_classes = 9
crop_size = (112, 112)
task = dict(
    num_classes=num_classes,
    data_preprocessor=dict(**_base_.preprocessing, size=crop_size),
    test_cfg=dict(mode='whole'),
)
train_pipeline = [
    dict(type='SeedAugmentation'),
    dict(type='RenderScene', size=(160, 120)),
    dict(type='RandomResize', scale=(160, 120), ratio_range=(0.8, 1.5), keep_ratio=True),
    dict(type='FastRandomCrop', crop_size=crop_size),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [dict(type='RenderScene', size=(160, 120)), dict(type='PackSegInputs')]
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type='ResumableSampler'),
    dataset=dict(type='SyntheticScenes', split='train', num_scenes=400, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='SyntheticScenes', split='val', num_scenes=100, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = _base_.evaluators
test_evaluator = _base_.evaluators
