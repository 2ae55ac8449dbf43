"""Every head of MMSegmentation as student, as teacher, and as folded teacher. Used by `models/test_heads.py`.

Each network is a config of MMSegmentation, made narrow. It is the student of a PSPNet, and the teacher of a PSPNet, for
two training steps on two random images with three classes. The losses compare logits (BPKD), the feature of the head
(CWD) and the last stage of the backbone (MGD). Nothing is downloaded.
"""

import json
import os.path as osp
import re
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from typing import NamedTuple

import mmseg
import numpy as np
import torch
from conftest import ROOT
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmseg.datasets.transforms import GenerateEdge, PackSegInputs
from torch.nn.modules.batchnorm import _BatchNorm

from mmseg_bpkd.models.algorithms import SegDistill
from mmseg_bpkd.models.segmentors import build_segmentor, check_distillable, resolve_segmentor

ROWS, PAGE = osp.join(ROOT, 'docs/support.json'), osp.join(ROOT, 'docs/support.md')
NUM_CLASSES = 3
LOSSES = dict(
    loss_bpkd=dict(type='BPKDLoss'),
    loss_cwd=dict(type='CWDFeatureLoss'),
    loss_mgd=dict(type='MGDLoss'),
)


class Network(NamedTuple):
    """A config of MMSegmentation, with changes that make it small."""

    head: str
    config: str
    changes: dict = {}
    crop: int = 64
    remark: str = ''


def resnet(head: str, config: str, auxiliary: bool = True, remark: str = '', **decode_head) -> Network:
    """A network with a ResNet-18 of width 8."""
    changes = dict(
        pretrained=None,
        backbone=dict(depth=18, base_channels=8, stem_channels=8),
        decode_head={**dict(in_channels=64, channels=16), **decode_head},
    )
    if auxiliary:
        changes['auxiliary_head'] = dict(in_channels=32, channels=8)
    return Network(head, config, changes, remark=remark)


def transformer(width: int = 16, **changes) -> dict:
    """The settings of a VisionTransformer with four layers."""
    layers = dict(embed_dims=width, num_layers=4, num_heads=2, img_size=(64, 64), out_indices=(0, 1, 2, 3))
    return dict(layers, init_cfg=None, **changes)


def items(*changes: dict) -> dict:
    """Changes of the items of a list, as MMEngine writes them."""
    return {str(index): dict(change) for index, change in enumerate(changes)}


HRNET = dict(
    stage1=dict(num_blocks=(1,), num_channels=(8,)),
    stage2=dict(num_blocks=(1, 1), num_channels=(4, 8)),
    stage3=dict(num_modules=1, num_blocks=(1, 1, 1), num_channels=(4, 8, 16)),
    stage4=dict(num_modules=1, num_blocks=(1, 1, 1, 1), num_channels=(4, 8, 16, 32)),
)
STAGES = [8, 16, 32, 64]
SMALL_FFN = dict(feedforward_channels=32)
KERNEL_UPDATE = dict(
    in_channels=16,
    out_channels=16,
    num_heads=2,
    kernel_updator_cfg=dict(in_channels=16, feat_channels=16, out_channels=16),
    **SMALL_FFN,
)
MMDET = 'needs MMDetection'

NETWORKS: dict[str, Network] = {
    'FCN': resnet('FCNHead', 'fcn/fcn_r18-d8_4xb2-80k_cityscapes-512x1024.py'),
    'PSPNet': resnet('PSPHead', 'pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py'),
    'DeepLabV3': resnet('ASPPHead', 'deeplabv3/deeplabv3_r18-d8_4xb2-80k_cityscapes-512x1024.py'),
    'DeepLabV3+': resnet(
        'DepthwiseSeparableASPPHead',
        'deeplabv3plus/deeplabv3plus_r18-d8_4xb2-80k_cityscapes-512x1024.py',
        c1_in_channels=8,
        c1_channels=4,
    ),
    'UPerNet': resnet('UPerHead', 'upernet/upernet_r18_4xb2-80k_cityscapes-512x1024.py', in_channels=STAGES),
    'ANN': resnet(
        'ANNHead', 'ann/ann_r50-d8_4xb2-40k_cityscapes-512x1024.py', in_channels=[32, 64], project_channels=8
    ),
    'APCNet': resnet('APCHead', 'apcnet/apcnet_r50-d8_4xb2-40k_cityscapes-512x1024.py'),
    'CCNet': resnet('CCHead', 'ccnet/ccnet_r50-d8_4xb2-40k_cityscapes-512x1024.py'),
    'DANet': resnet('DAHead', 'danet/danet_r50-d8_4xb2-40k_cityscapes-512x1024.py', pam_channels=4),
    'DMNet': resnet('DMHead', 'dmnet/dmnet_r50-d8_4xb2-40k_cityscapes-512x1024.py'),
    'DNLNet': resnet('DNLHead', 'dnlnet/dnl_r50-d8_4xb2-40k_cityscapes-512x1024.py'),
    'EMANet': resnet('EMAHead', 'emanet/emanet_r50-d8_4xb2-80k_cityscapes-512x1024.py', ema_channels=16, num_bases=8),
    'EncNet': resnet(
        'EncHead', 'encnet/encnet_r50-d8_4xb2-40k_cityscapes-512x1024.py', in_channels=STAGES[1:], num_codes=4
    ),
    'GCNet': resnet('GCHead', 'gcnet/gcnet_r50-d8_4xb2-40k_cityscapes-512x1024.py'),
    'ISANet': resnet('ISAHead', 'isanet/isanet_r50-d8_4xb2-40k_cityscapes-512x1024.py', isa_channels=8),
    'NonLocalNet': resnet('NLHead', 'nonlocal_net/nonlocal_r50-d8_4xb2-40k_cityscapes-512x1024.py'),
    'PSANet': resnet(
        'PSAHead',
        'psanet/psanet_r50-d8_4xb2-40k_cityscapes-512x1024.py',
        mask_size=(9, 9),
        remark='needs mmcv with compiled operators',
    ),
    'Semantic FPN': Network(
        'FPNHead',
        'sem_fpn/fpn_r50_4xb2-80k_cityscapes-512x1024.py',
        dict(
            pretrained=None,
            backbone=dict(depth=18, base_channels=8, stem_channels=8),
            neck=dict(in_channels=STAGES, out_channels=16),
            decode_head=dict(in_channels=[16] * 4, channels=16),
        ),
    ),
    'PointRend': Network(
        'PointHead',
        'point_rend/pointrend_r50_4xb2-80k_cityscapes-512x1024.py',
        dict(
            pretrained=None,
            backbone=dict(depth=18, base_channels=8, stem_channels=8),
            neck=dict(in_channels=STAGES, out_channels=16),
            decode_head=items(dict(in_channels=[16] * 4, channels=16), dict(in_channels=[16], channels=16)),
            train_cfg=dict(num_points=64),
        ),
        remark='records are those of the coarse head, `FPNHead`',
    ),
    'OCRNet': Network(
        'OCRHead',
        'ocrnet/ocrnet_hr18_4xb2-40k_cityscapes-512x1024.py',
        dict(
            pretrained=None,
            backbone=dict(extra=HRNET),
            decode_head=items(
                dict(in_channels=[4, 8, 16, 32], channels=60),
                dict(in_channels=[4, 8, 16, 32], channels=16, ocr_channels=8),
            ),
        ),
    ),
    'Fast-SCNN': Network('DepthwiseSeparableFCNHead', 'fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024.py', crop=128),
    'SegFormer': Network(
        'SegformerHead',
        'segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py',
        dict(
            backbone=dict(init_cfg=None, embed_dims=8, num_layers=[1, 1, 1, 1]),
            decode_head=dict(in_channels=[8, 16, 40, 64], channels=16),
        ),
    ),
    'SegNeXt': Network(
        'LightHamHead',
        'segnext/segnext_mscan-t_1xb16-adamw-160k_ade20k-512x512.py',
        dict(
            backbone=dict(init_cfg=None, embed_dims=[8, 16, 32, 64], depths=[1, 1, 1, 1]),
            decode_head=dict(in_channels=STAGES[1:], channels=32, ham_channels=32),
        ),
    ),
    'SETR (naive)': Network(
        'SETRUPHead',
        'setr/setr_vit-l_naive_8xb2-160k_ade20k-512x512.py',
        dict(
            backbone=transformer(),
            decode_head=dict(in_channels=16, channels=16),
            auxiliary_head=items(*[dict(in_channels=16, channels=16)] * 3),
        ),
    ),
    'SETR (PUP)': Network(
        'SETRUPHead',
        'setr/setr_vit-l_pup_8xb2-160k_ade20k-512x512.py',
        dict(
            backbone=transformer(),
            decode_head=dict(in_channels=16, channels=16),
            auxiliary_head=items(*[dict(in_channels=16, channels=16)] * 3),
        ),
    ),
    'SETR (MLA)': Network(
        'SETRMLAHead',
        'setr/setr_vit-l-mla_8xb1-160k_ade20k-512x512.py',
        dict(
            backbone=transformer(),
            neck=dict(in_channels=[16] * 4, out_channels=16),
            decode_head=dict(in_channels=(16,) * 4, channels=32, mla_channels=8),
            auxiliary_head=items(*[dict(in_channels=16, channels=16)] * 4),
        ),
    ),
    'DPT': Network(
        'DPTHead',
        'dpt/dpt_vit-b16_8xb2-160k_ade20k-512x512.py',
        dict(
            pretrained=None,
            backbone=transformer(),
            decode_head=dict(in_channels=(16,) * 4, channels=16, embed_dims=16, post_process_channels=[4, 8, 16, 32]),
        ),
    ),
    'Segmenter': Network(
        'SegmenterMaskTransformerHead',
        'segmenter/segmenter_vit-t_mask_8xb1-160k_ade20k-512x512.py',
        dict(
            pretrained=None,
            backbone=transformer(),
            decode_head=dict(in_channels=16, channels=16, num_heads=2, embed_dims=16),
        ),
    ),
    'K-Net': Network(
        'IterativeDecodeHead',
        'knet/knet-s3_r50-d8_fcn_8xb2-adamw-80k_ade20k-512x512.py',
        dict(
            pretrained=None,
            backbone=dict(depth=18, base_channels=8, stem_channels=8),
            decode_head=dict(
                kernel_generate_head=dict(in_channels=64, channels=16), kernel_update_head=items(*[KERNEL_UPDATE] * 3)
            ),
            auxiliary_head=dict(in_channels=32, channels=8),
        ),
        remark='logits of the last stage; the feature is that of `kernel_generate_head`',
    ),
    'MaskFormer': Network(
        'MaskFormerHead',
        'maskformer/maskformer_r50-d32_8xb2-160k_ade20k-512x512.py',
        dict(
            backbone=dict(depth=18, base_channels=8, init_cfg=None),
            decode_head=dict(
                in_channels=STAGES,
                num_queries=8,
                transformer_decoder=dict(num_layers=1, layer_cfg=dict(ffn_cfg=SMALL_FFN)),
            ),
        ),
        remark=f'{MMDET}; logits: logarithm of the class scores',
    ),
    'Mask2Former': Network(
        'Mask2FormerHead',
        'mask2former/mask2former_r50_8xb2-90k_cityscapes-512x1024.py',
        dict(
            backbone=dict(depth=18, base_channels=8, init_cfg=None),
            decode_head=dict(
                in_channels=STAGES,
                num_queries=8,
                pixel_decoder=dict(encoder=dict(num_layers=1, layer_cfg=dict(ffn_cfg=SMALL_FFN))),
                transformer_decoder=dict(num_layers=1, layer_cfg=dict(ffn_cfg=SMALL_FFN)),
                train_cfg=dict(num_points=64),
            ),
        ),
        remark=f'{MMDET}; logits: logarithm of the class scores',
    ),
    'LRASPP': Network(
        'LRASPPHead',
        'mobilenet_v3/mobilenet-v3-d8-scratch-s_lraspp_4xb4-320k_cityscapes-512x1024.py',
        crop=400,
        remark='needs a crop of at least 392x392: it averages windows of 49x49 cells at stride 8',
    ),
    'DDRNet': Network(
        'DDRHead',
        'ddrnet/ddrnet_23-slim_in1k-pre_2xb6-120k_cityscapes-1024x1024.py',
        dict(
            backbone=dict(init_cfg=None, channels=8, ppm_channels=8),
            decode_head=dict(in_channels=32, channels=16),
        ),
        crop=128,
    ),
    'PIDNet': Network(
        'PIDHead',
        'pidnet/pidnet-s_2xb6-120k_1024x1024-cityscapes.py',
        dict(
            backbone=dict(init_cfg=None, channels=8, ppm_channels=8),
            decode_head=dict(in_channels=32, channels=16),
        ),
        crop=128,
        remark="as student, needs `dict(type='GenerateEdge', edge_width=4)` in `train_pipeline`",
    ),
    'STDC': Network(
        'STDCHead',
        'stdc/stdc1_4xb12-80k_cityscapes-512x1024.py',
        crop=128,
        remark='auxiliary head, with two classes (boundary or not); the decode head is an `FCNHead`',
    ),
    'SAN': Network(
        'SideAdapterCLIPHead',
        'san/san-vit-b16_voc12aug-640x640.py',
        remark='refused: it classifies masks with the text encoder of CLIP, and has no backbone',
    ),
    'VPD': Network('VPDDepthHead', 'vpd/vpd_sd_4xb8-25k_nyu-512x512.py', remark='refused: it estimates depth'),
    'BiSeNetV1': Network(
        'FCNHead', 'bisenetv1/bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024.py', dict(pretrained=None), crop=128
    ),
    'BiSeNetV2': Network('FCNHead', 'bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024.py', crop=128),
    'CGNet': Network('FCNHead', 'cgnet/cgnet_fcn_4xb4-60k_cityscapes-680x680.py'),
    'ERFNet': Network('FCNHead', 'erfnet/erfnet_fcn_4xb4-160k_cityscapes-512x1024.py'),
    'FastFCN': Network(
        'PSPHead',
        'fastfcn/fastfcn_r50-d32_jpu_psp_4xb2-80k_cityscapes-512x1024.py',
        dict(
            pretrained=None,
            backbone=dict(depth=18, base_channels=8, stem_channels=8),
            neck=dict(in_channels=tuple(STAGES[1:]), mid_channels=16),
            decode_head=dict(in_channels=64, channels=16),
            auxiliary_head=dict(in_channels=32, channels=8),
        ),
    ),
    'HRNet': Network(
        'FCNHead',
        'hrnet/fcn_hr18_4xb2-40k_cityscapes-512x1024.py',
        dict(
            pretrained=None,
            backbone=dict(extra=HRNET),
            decode_head=dict(in_channels=[4, 8, 16, 32], channels=60),
        ),
    ),
    'ICNet': Network(
        'FCNHead',
        'icnet/icnet_r18-d8_4xb2-80k_cityscapes-832x832.py',
        dict(
            backbone=dict(
                layer_channels=(16, 64),
                psp_out_channels=16,
                out_channels=(8, 16, 16),
                light_branch_middle_channels=8,
                backbone_cfg=dict(base_channels=8, stem_channels=8),
            ),
            neck=dict(in_channels=(8, 16, 16), out_channels=16),
            decode_head=dict(in_channels=16, channels=16),
            auxiliary_head=items(*[dict(in_channels=16, channels=16)] * 2),
        ),
        crop=128,
    ),
    'UNet': Network(
        'FCNHead',
        'unet/unet-s5-d16_fcn_4xb4-160k_cityscapes-512x1024.py',
        dict(
            backbone=dict(base_channels=4),
            decode_head=dict(in_channels=4, channels=4),
            auxiliary_head=dict(in_channels=8, channels=4),
        ),
    ),
}
PARTNER = NETWORKS['PSPNet']


def model_config(network: Network) -> dict:
    """The config of a network, for `SegDistill`."""
    return dict(cfg_path=f'mmseg::{network.config}', **network.changes)


def preprocessor(crop: int) -> dict:
    return dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(crop, crop),
    )


def batch(crop: int) -> dict:
    """Two random images with labels, as the data loader returns them. `GenerateEdge` is for PIDNet."""
    random, results = np.random.default_rng(0), []
    for _ in range(2):
        label = random.integers(0, NUM_CLASSES, (crop // 16, crop // 16), np.uint8).repeat(16, 0).repeat(16, 1)
        label[:2] = 255
        results.append(
            dict(
                img=random.integers(0, 256, (*label.shape, 3), np.uint8),
                gt_seg_map=label,
                seg_fields=['gt_seg_map'],
                img_shape=label.shape,
                ori_shape=label.shape,
                pad_shape=label.shape,
            )
        )
    packed = [PackSegInputs().transform(GenerateEdge(edge_width=4).transform(result)) for result in results]
    return {key: [sample[key] for sample in packed] for key in packed[0]}


def save_random_weights(network: Network, crop: int, path: str) -> int:
    """Writes a checkpoint with random weights and statistics of batch norm. Returns the number of batch norms."""
    config = resolve_segmentor(model_config(network), NUM_CLASSES, preprocessor(crop))
    check_distillable(config, 'teacher')
    model = build_segmentor(config)
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.running_mean.normal_(std=0.1)
        norm.running_var.uniform_(0.5, 2)
    torch.save(dict(state_dict=model.state_dict()), path)
    return len(norms)


def distil(teacher: Network, student: Network, crop: int, steps: int = 2, **settings) -> SegDistill:
    """Trains a student for some steps.

    Raises:
        AssertionError: if a loss is not finite, or if a step does not change the student.
    """
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = osp.join(folder, 'teacher.pth')
        save_random_weights(teacher, crop, checkpoint)
        model = SegDistill(
            distiller=dict(type='SegDistiller', losses=LOSSES),
            teacher=model_config(teacher),
            student=model_config(student),
            teacher_ckpt=checkpoint,
            num_classes=NUM_CLASSES,
            data_preprocessor=preprocessor(crop),
            **settings,
        )
        model.init_weights()
    model = revert_sync_batchnorm(model.train())
    before = {name: parameter.clone() for name, parameter in model.student.named_parameters()}
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), 1e-3))
    for _ in range(steps):
        logs = model.train_step(batch(crop), wrapper)
        assert all(torch.isfinite(value).all() for value in logs.values()), f'a loss is not finite: {logs}'
    assert any(not torch.equal(value, before[name]) for name, value in model.student.named_parameters())
    return model


def attempt(function: Callable, *args, **kwargs) -> str:
    """Returns 'yes', or the first line of the error."""
    try:
        function(*args, **kwargs)
    except Exception as error:
        return f'{type(error).__name__}: {error}'.splitlines()[0]
    return 'yes'


def norms_of(model: torch.nn.Module) -> int:
    return sum(isinstance(module, _BatchNorm) for module in model.modules())


def try_network(name: str) -> dict:
    """Returns the row of a network: what happens to it as student, as teacher and as folded teacher."""
    network = NETWORKS[name]
    row = dict(network=name, head=network.head, config=network.config, crop=network.crop)
    row['student'] = attempt(distil, PARTNER, network, network.crop)
    row['teacher'] = attempt(distil, network, PARTNER, network.crop, fold_teacher=False)
    folded = []
    row['folded'] = attempt(lambda: folded.append(distil(network, PARTNER, network.crop).teacher))
    if folded:
        config = resolve_segmentor(model_config(network), NUM_CLASSES, preprocessor(network.crop))
        config.pop('auxiliary_head', None)
        row['norms'] = norms_of(build_segmentor(config))
        row['norms_folded'] = row['norms'] - norms_of(folded[0])
    return row


def table(results: dict) -> str:
    """Returns the rows as a Markdown table."""
    lines = ['| network | head | student | teacher | folded | remark |', '|---|---|---|---|---|---|']
    for row in results['networks']:
        remarks = [NETWORKS[row['network']].remark] if NETWORKS[row['network']].remark else []
        cells = ['yes' if row[key] == 'yes' else 'no' for key in ('student', 'teacher', 'folded')]
        if row['folded'] == 'yes':
            cells[2] = f'{row["norms_folded"]} of {row["norms"]}' if row['norms'] else 'no batch norm'
        errors = {row[key] for key in ('student', 'teacher', 'folded')} - {'yes'}
        if not remarks:
            remarks = sorted(error.partition(': ')[2] for error in errors)
        lines.append(f'| {row["network"]} | `{row["head"]}` | {" | ".join(cells)} | {"; ".join(remarks)} |')
    return '\n'.join(lines)


def committed_rows() -> dict[str, dict]:
    """The rows of docs/support.json: {name of a network: row}."""
    with open(ROWS) as file:
        return {row['network']: row for row in json.load(file)['networks']}


def write(rows: dict[str, dict]) -> None:
    """Writes docs/support.json and the table of docs/support.md."""
    with open(ROWS) as file:
        results = json.load(file)
    results.update(torch=torch.__version__, mmsegmentation=mmseg.__version__)
    results['networks'] = [rows[name] for name in NETWORKS]
    if find_spec('mmdet'):  # else its rows are not tried
        results['mmdetection'] = version('mmdet')
    with open(ROWS, 'w') as file:
        json.dump(results, file, indent=1)
        file.write('\n')
    with open(PAGE) as file:
        page = file.read()
    with open(PAGE, 'w') as file:
        file.write(re.sub(r'\| network \| head .*?\n(?!\|)', lambda _: f'{table(results)}\n', page, flags=re.DOTALL))
