# Narrow networks with logits at stride 4 that train from scratch. "w32" is the width of the first stage.
_base_ = ['../datasets/camvid_240x320.py', '../schedules/short.py', '../default_runtime.py']
resnet18 = 'mmseg::deeplabv3plus/deeplabv3plus_r18-d8_4xb2-80k_cityscapes-512x1024.py'
# Rare and thin classes count more. Order: sky, building, pole, road, pavement, tree, sign symbol, fence, car,
# pedestrian, bicyclist.
class_weight = [0.5, 0.5, 4.0, 0.5, 1.0, 0.6, 4.0, 2.0, 0.9, 5.0, 6.0]
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
    backbone=dict(base_channels=16, stem_channels=16),
    decode_head=dict(in_channels=128, channels=32, c1_in_channels=16, c1_channels=8, loss_decode=loss),
    auxiliary_head=dict(in_channels=64, channels=16, loss_decode=auxiliary_loss),
)
model = dict(
    type='SegDistill',
    teacher=teacher,
    teacher_ckpt='checkpoints/deeplabv3plus_r18w32_camvid.pth',
    student=student,
    **_base_.task,
)
optim_wrapper = dict(optimizer=dict(lr=0.05))  # from scratch; the paper's 0.01 is for students with ImageNet weights
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=100, by_epoch=False),
    dict(type='FallingPolyLR', eta_min=1e-4, power=0.9, begin=100, end=4000, by_epoch=False),
]
auto_scale_lr = dict(base_batch_size=6)
train_cfg = dict(max_iters=4000)
