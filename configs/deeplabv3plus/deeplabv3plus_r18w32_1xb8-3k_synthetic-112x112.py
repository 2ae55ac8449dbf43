# The teacher of the demo, checkpoints/deeplabv3plus_r18w32_synthetic.pth. To train it again, in bfloat16 on a CPU:
#     CONFIG=configs/deeplabv3plus/deeplabv3plus_r18w32_1xb8-3k_synthetic-112x112.py
#     TEACHER=checkpoints/deeplabv3plus_r18w32_synthetic.pth
#     python tools/train.py $CONFIG --amp --work-dir work_dirs/demo_teacher
#     python tools/export_student.py $CONFIG work_dirs/demo_teacher/iter_3000.pth $TEACHER --half
_base_ = '../_base_/pairs/deeplabv3plus-r18w32_deeplabv3plus-r18w8_synthetic.py'
model = dict(_delete_=True, type='plain_segmentor', **_base_.task, **_base_.teacher)
param_scheduler = _base_.param_scheduler
param_scheduler[-1].end = 3000
train_cfg = dict(max_iters=3000, val_interval=1000)
default_hooks = dict(logger=dict(interval=50))
