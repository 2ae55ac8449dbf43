# Every data set uses this list as val_evaluator and test_evaluator. It has a name of its own because MMSegmentation's
# data sets define these two keys, and two bases of one config must not define the same key.
evaluators = [
    dict(type='SegIoU', iou_metrics=['mIoU']),
    dict(type='TrimapIoU', half_width=3),
    dict(type='BoundaryIoU', ratio=0.005),
]
