# The pair of tools/demo.py, with logits at stride 4. "w32" is the width of the first stage.
_base_ = ['../datasets/synthetic_160x120.py', '../schedules/short.py', '../default_runtime.py']
resnet18 = 'mmseg::deeplabv3plus/deeplabv3plus_r18-d8_4xb2-80k_cityscapes-512x1024.py'
# Rare and thin classes count more. Order: sky, ground, building, tree, pole, wire, sign, vehicle, person.
class_weight = [0.5, 0.5, 0.5, 1.0, 2.0, 2.0, 4.0, 1.0, 2.0]
loss = dict(type='CrossEntropyLoss', class_weight=class_weight, loss_weight=1.0)
auxiliary_loss = dict(type='CrossEntropyLoss', class_weight=class_weight, loss_weight=0.4)
teacher = dict(
    cfg_path=resnet18,
    pretrained=None,
    backbone=dict(base_channels=32, stem_channels=32),
    decode_head=dict(in_channels=256, channels=64, c1_in_channels=32, c1_channels=16, loss_decode=loss),
    auxiliary_head=dict(in_channels=128, channels=32, loss_decode=auxiliary_loss),
)
student = dict(
    cfg_path=resnet18,
    pretrained=None,
    backbone=dict(base_channels=8, stem_channels=8),
    decode_head=dict(in_channels=64, channels=16, c1_in_channels=8, c1_channels=8, loss_decode=loss),
    auxiliary_head=dict(in_channels=32, channels=8, loss_decode=auxiliary_loss),
)
model = dict(
    type='SegDistill',
    teacher=teacher,
    teacher_ckpt='checkpoints/deeplabv3plus_r18w32_synthetic.pth',
    student=student,
    **_base_.task,
)
optim_wrapper = dict(optimizer=dict(lr=0.05))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=50, by_epoch=False),
    dict(type='FallingPolyLR', eta_min=1e-4, power=0.9, begin=50, end=300, by_epoch=False),
]
train_cfg = dict(max_iters=300, val_interval=300)
default_hooks = dict(checkpoint=dict(interval=100), logger=dict(interval=20))
