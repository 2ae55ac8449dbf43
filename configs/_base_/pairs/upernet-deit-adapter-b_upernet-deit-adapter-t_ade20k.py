# No published checkpoint of the teacher fits MMSegmentation 1.x. Train it with
# configs/upernet/upernet_deit-adapter-b_8xb2-160k_ade20k-512x512.py, or set teacher_ckpt to your own checkpoint.
# Networks, learning rates and test settings are those of ViT-Adapter's authors.
_base_ = ['../datasets/ade20k_512x512.py', '../schedules/80k_adamw.py', '../default_runtime.py']
upernet = 'mmseg::_base_/models/upernet_r50.py'
teacher = dict(
    cfg_path=upernet,
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='ViTAdapter',
        embed_dims=768,
        num_heads=12,
        deform_num_heads=12,
        deform_ratio=0.5,
        drop_path_rate=0.3,
        init_cfg=dict(
            type='Pretrained', checkpoint='https://dl.fbaipublicfiles.com/deit/deit_base_patch16_224-b5f2ef4d.pth'
        ),
    ),
    decode_head=dict(in_channels=[768, 768, 768, 768]),
    auxiliary_head=dict(in_channels=768),
)
student = dict(
    cfg_path=upernet,
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='ViTAdapter',
        embed_dims=192,
        num_heads=3,
        deform_num_heads=6,
        deform_ratio=1.0,
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained', checkpoint='https://dl.fbaipublicfiles.com/deit/deit_tiny_patch16_224-a1311bcf.pth'
        ),
    ),
    decode_head=dict(in_channels=[192, 192, 192, 192]),
    auxiliary_head=dict(in_channels=192),
)
task = dict(_base_.task, test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)))
test_pipeline = _base_.test_pipeline
test_pipeline.insert(2, dict(type='ResizeToMultiple', size_divisor=32))  # after Resize
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
model = dict(
    type='SegDistill',
    teacher=teacher,
    teacher_ckpt='work_dirs/upernet_deit-adapter-b_8xb2-160k_ade20k-512x512/iter_160000.pth',
    student=student,
    **task,
)
# Layer-wise decay: each block has 0.95x the learning rate of the next. One-dimensional parameters have no weight decay.
block_rates = {f'backbone.blocks.{i}.': 0.95 ** (12 - i) for i in range(12)}
undecayed = ('norm', 'gamma', 'attn.qkv.bias', 'attn.proj.bias', 'mlp.fc1.bias', 'mlp.fc2.bias')
optim_wrapper = dict(
    optimizer=dict(lr=12e-5),
    paramwise_cfg=dict(
        flat_decay_mult=0.0,
        custom_keys={
            'backbone.patch_embed.proj.weight': dict(lr_mult=0.95**13),
            'backbone.patch_embed.proj.bias': dict(lr_mult=0.95**13, decay_mult=0.0),
            'backbone.pos_embed': dict(lr_mult=0.95**13),
            **{block: dict(lr_mult=rate) for block, rate in block_rates.items()},
            **{
                f'{block}{part}': dict(lr_mult=rate, decay_mult=0.0)
                for block, rate in block_rates.items()
                for part in undecayed
            },
        },
    ),
)
