_base_ = ['mmseg::_base_/datasets/pascal_context_59.py', '../preprocessing.py', '../evaluators.py']
num_classes = 59
num_images = dict(  # published; the second number is for the annotation file that is available today
    train=[4998, 4996], val=[5105, 5104]
)
crop_size = (480, 480)
task = dict(
    num_classes=num_classes,
    data_preprocessor=dict(**_base_.preprocessing, size=crop_size),
    test_cfg=dict(mode='slide', crop_size=crop_size, stride=(320, 320)),
)
train_pipeline = [
    dict(type='SeedAugmentation'),
    dict(type='LoadImageFromFile'),
    dict(type='LoadCheckedAnnotations', num_classes=num_classes, reduce_zero_label=True),
    dict(type='RandomResize', scale=(520, 520), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='FastRandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='FastPhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(520, 520), keep_ratio=True),
    dict(type='LoadCheckedAnnotations', num_classes=num_classes, reduce_zero_label=True),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=4, num_workers=4, sampler=dict(type='ResumableSampler'), dataset=dict(pipeline=train_pipeline)
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = _base_.evaluators
test_evaluator = _base_.evaluators
