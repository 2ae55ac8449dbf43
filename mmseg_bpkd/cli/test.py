"""Measure mIoU, trimap mIoU and boundary IoU of a plain or distilled segmentor.

    bpkd test configs/bpkd/bpkd_pspnet-r50_pspnet-r18_1xb8-20k_camvid-360x360.py CHECKPOINT
    bpkd test CONFIG CHECKPOINT --out results.json --show-dir pictures
    bpkd test CONFIG CHECKPOINT --tta

CONFIG is a distillation config or a plain config. CHECKPOINT is from a distillation, a plain run or an exported
student. The teacher is neither built nor downloaded. Several GPUs: tools/test.sh CONFIG CHECKPOINT GPUS.
"""

import argparse
import os.path as osp

from .arguments import add_common_arguments


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--out', metavar='JSON', help='write all metrics to this file, with the values of each class')
    parser.add_argument('--per-image', metavar='NPZ', help='write the pixel counts of each image to this file')
    parser.add_argument('--show-dir', help='draw each prediction beside its label into this folder')
    parser.add_argument(
        '--tta', action='store_true', help='average over six scales and their mirror images, as in MMSegmentation'
    )
    add_common_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from mmengine.dist import is_main_process

    from mmseg_bpkd.config.errors import short_errors
    from mmseg_bpkd.config.reading import load_config
    from mmseg_bpkd.datasets.check import check_data
    from mmseg_bpkd.engine.devices import end_process_group, use_available_devices, world_size
    from mmseg_bpkd.evaluation.evaluate import evaluate
    from mmseg_bpkd.fileio.writing import check_writable, write_json

    with short_errors(None, FileNotFoundError, ValueError, launcher=args.launcher):
        cfg = load_config(args)
        check_data(cfg, 'test')
        if args.show_dir and world_size(args.launcher) > 1:
            raise ValueError('--show-dir draws the images of the first process only: test with one process')
    cfg.work_dir = args.work_dir or osp.join(
        cfg.work_dir, 'test'
    )  # do not overwrite the config that the training run saved
    if args.show_dir:
        cfg.default_hooks.visualization = dict(type='DrawPredictionsHook', draw=True, interval=1)
        cfg.visualizer.save_dir = args.show_dir
    with short_errors(cfg, ImportError, OSError, ValueError, launcher=args.launcher):
        use_available_devices(cfg)
        picture = args.show_dir and osp.join(args.show_dir, 'picture.png')
        check_writable(*filter(None, (args.out, args.per_image, picture)))  # before the test, not after it
        results = evaluate(cfg, args.checkpoint, args.per_image, args.tta)
        if args.out and is_main_process():
            write_json(args.out, dict(config=args.config, checkpoint=args.checkpoint, **results))
    end_process_group()
