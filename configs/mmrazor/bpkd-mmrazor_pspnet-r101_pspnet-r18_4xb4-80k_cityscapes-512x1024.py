# BPKD in a stock MMRazor recipe: its algorithm and distiller, with explicit recorders and mappings. Unlike SegDistill,
# MMRazor keeps the teacher's dropout on, computes the teacher's task loss, and saves the teacher in every checkpoint.
_base_ = ['../_base_/datasets/cityscapes_512x1024.py', '../_base_/schedules/80k.py', '../_base_/default_runtime.py']
logits = dict(type='ModuleOutputs', source='decode_head.conv_seg')
model = dict(
    _scope_='mmrazor',
    type='SingleTeacherDistill',
    data_preprocessor=dict(_base_.task.data_preprocessor, _scope_='mmseg'),
    architecture=dict(cfg_path='mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py', pretrained=False),
    teacher=dict(cfg_path='mmseg::pspnet/pspnet_r101-d8_4xb2-80k_cityscapes-512x1024.py', pretrained=False),
    teacher_ckpt='https://download.openmmlab.com/mmsegmentation/v0.5/pspnet/pspnet_r101-d8_512x1024_80k_cityscapes/'
    'pspnet_r101-d8_512x1024_80k_cityscapes_20200606_112211-e1e1100f.pth',
    distiller=dict(
        type='ConfigurableDistiller',
        student_recorders=dict(logits=logits, label=dict(type='ModuleInputs', source='decode_head.loss_decode')),
        teacher_recorders=dict(logits=logits),
        distill_losses=dict(loss_bpkd=dict(type='BPKDLoss')),
        loss_forward_mappings=dict(
            loss_bpkd=dict(
                preds_S=dict(from_student=True, recorder='logits'),
                preds_T=dict(from_student=False, recorder='logits'),
                gt=dict(from_student=True, recorder='label', data_idx=1),
            )
        ),
    ),
)
