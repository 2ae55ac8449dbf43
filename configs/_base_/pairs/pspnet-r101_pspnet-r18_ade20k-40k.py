# Half the schedule, as in Table 7 of the paper.
_base_ = 'pspnet-r101_pspnet-r18_ade20k.py'
param_scheduler = _base_.param_scheduler
param_scheduler[-1].end = 40000
train_cfg = dict(max_iters=40000, val_interval=4000)
