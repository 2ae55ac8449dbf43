_base_ = ['mmseg::_base_/datasets/pascal_voc12_aug.py', '../preprocessing.py', '../evaluators.py']
num_classes = 21
num_images = dict(train=10582, val=1449)  # published
crop_size = (512, 512)
task = dict(
    num_classes=num_classes,
    data_preprocessor=dict(**_base_.preprocessing, size=crop_size),
    test_cfg=dict(mode='whole'),
)
train_pipeline = [
    dict(type='SeedAugmentation'),
    dict(type='LoadImageFromFile'),
    dict(type='LoadCheckedAnnotations', num_classes=num_classes),
    dict(type='RandomResize', scale=(2048, 512), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='FastRandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='FastPhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(2048, 512), keep_ratio=True),
    dict(type='LoadCheckedAnnotations', num_classes=num_classes),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    sampler=dict(type='ResumableSampler'),
    dataset=dict(  # the labels of VOC, and those of SBD
        datasets=[dict(part, pipeline=train_pipeline) for part in _base_.train_dataloader.dataset.datasets]
    ),
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = _base_.evaluators
test_evaluator = _base_.evaluators
