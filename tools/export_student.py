"""Turn a distillation checkpoint into a plain MMSegmentation one.

    python tools/export_student.py CONFIG work_dirs/RUN/iter_80000.pth student.pth

writes student.pth (the student's weights, class names and palette) and student.py, the plain config that goes with it:

    import mmseg_bpkd  # with mmcv-lite
    model = mmseg.apis.init_model('student.py', 'student.pth', device='cpu')
"""

import argparse
import os
import os.path as osp
import sys

sys.path.insert(0, osp.join(osp.dirname(osp.abspath(__file__)), '..'))  # a checkout works without being installed

import mmseg_bpkd  # noqa: F401
import torch
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from mmseg_bpkd.checkpoint import load_strictly, read_checkpoint, segmentor_state
from mmseg_bpkd.segmentors import build_segmentor, student_config

CONFIG_KEYS = (
    'default_scope',
    'env_cfg',
    'vis_backends',
    'visualizer',
    'log_processor',
    'log_level',
    'default_hooks',
    'test_cfg',
    'test_dataloader',
    'test_evaluator',
    'test_pipeline',
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='of the distillation')
    parser.add_argument('checkpoint')
    parser.add_argument('out', help='the checkpoint to write, NAME.pth; the config is written to NAME.py')
    parser.add_argument('--half', action='store_true', help='store the weights in half the space, rounded to float16')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        metavar='KEY=VALUE',
        help='those that the run was started with',
    )
    args = parser.parse_args()
    if not args.out.endswith('.pth'):
        parser.error(f'the exported checkpoint must be named *.pth, got {args.out}')
    return args


def plain_config(cfg: Config) -> Config:
    """What testing and `init_model` need, with transforms that MMSegmentation knows."""
    plain = Config({key: cfg[key] for key in CONFIG_KEYS if key in cfg})
    plain.model = student_config(cfg.model)
    plain.model.pop('pretrained', None)
    plain.model.backbone.pop('init_cfg', None)
    for pipeline in (plain.test_pipeline, plain.test_dataloader.dataset.pipeline):
        for transform in pipeline:
            if transform.type == 'LoadCheckedAnnotations':  # `inference_model` looks for the stock name
                transform.type = 'LoadAnnotations'
                transform.pop('num_classes')
                transform.pop('ignore_index', None)
    plain.custom_imports = dict(imports=['mmseg_bpkd'], allow_failed_imports=True)  # for its metrics and data sets
    plain.default_hooks.pop('checkpoint', None)
    return plain


def dataset_meta(cfg: Config, checkpoint: dict) -> dict:
    """Names and colours of the classes: the checkpoint's, as MMSegmentation 1.x or 0.x writes them, or the config's."""
    dataset, meta = cfg.test_dataloader.dataset, checkpoint.get('meta', {})
    if meta.get('dataset_meta'):
        meta = meta['dataset_meta']
    else:
        old = {key.lower(): meta[key] for key in ('CLASSES', 'PALETTE') if meta.get(key)}
        meta = {**DATASETS.get(dataset.type).METAINFO, **dataset.get('metainfo', {}), **old}
    if not {'classes', 'palette'} <= meta.keys():
        raise ValueError(
            f'neither the checkpoint nor {dataset.type} says how the classes are called: set metainfo='
            'dict(classes=..., palette=...) of test_dataloader.dataset'
        )
    return dict(classes=tuple(meta['classes']), palette=[list(colour) for colour in meta['palette']])


def main() -> None:
    args = parse_args()
    os.makedirs(osp.dirname(args.out) or '.', exist_ok=True)
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options)
    init_default_scope('mmseg')
    checkpoint = read_checkpoint(args.checkpoint)
    plain = plain_config(cfg)
    model = build_segmentor(plain.model)
    load_strictly(model, segmentor_state(checkpoint), args.checkpoint)
    state = {
        key: value.half() if args.half and value.is_floating_point() else value
        for key, value in model.state_dict().items()
    }
    torch.save(dict(meta=dict(dataset_meta=dataset_meta(cfg, checkpoint)), state_dict=state), args.out)
    plain.dump(osp.splitext(args.out)[0] + '.py')
    print(f'wrote {args.out} and {osp.splitext(args.out)[0]}.py')


if __name__ == '__main__':
    main()
