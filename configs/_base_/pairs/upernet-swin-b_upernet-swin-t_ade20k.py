_base_ = ['../datasets/ade20k_512x512.py', '../schedules/80k_adamw.py', '../default_runtime.py']
model = dict(
    type='SegDistill',
    teacher=dict(cfg_path='mmseg::swin/swin-base-patch4-window7-in22k-pre_upernet_8xb2-160k_ade20k-512x512.py'),
    teacher_ckpt='https://download.openmmlab.com/mmsegmentation/v0.5/swin/'
    'upernet_swin_base_patch4_window7_512x512_160k_ade20k_pretrain_224x224_22K/'
    'upernet_swin_base_patch4_window7_512x512_160k_ade20k_pretrain_224x224_22K_20210526_211650-762e2178.pth',
    student=dict(cfg_path='mmseg::swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py'),
    **_base_.task,
)
optim_wrapper = dict(
    paramwise_cfg=dict(  # as in Swin Transformer
        custom_keys={
            'absolute_pos_embed': dict(decay_mult=0.0),
            'relative_position_bias_table': dict(decay_mult=0.0),
            'norm': dict(decay_mult=0.0),
        }
    )
)
