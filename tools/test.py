"""Measure mIoU, trimap mIoU and boundary IoU of a plain or distilled segmentor.

    python tools/test.py configs/bpkd/bpkd_pspnet-r18w32_pspnet-r18w16_1xb8-2k_camvid-192x192.py CHECKPOINT
    python tools/test.py CONFIG CHECKPOINT --out results.json --show-dir pictures

CONFIG may be a distillation config or a plain one, CHECKPOINT one of a distillation, of a plain run or an exported
student. The teacher is neither built nor downloaded. Several GPUs: tools/test.sh CONFIG CHECKPOINT GPUS.
"""
import argparse
import json
import math
import os.path as osp
import sys
from typing import Dict

sys.path.insert(0, osp.join(osp.dirname(osp.abspath(__file__)), '..'))  # a checkout works without being installed

import mmseg_bpkd  # noqa: F401
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmseg.evaluation import IoUMetric
from mmseg_bpkd.checkpoint import load_strictly, read_checkpoint, segmentor_state
from mmseg_bpkd.launch import (add_common_arguments, check_data_roots, load_config,
                               use_available_devices)
from mmseg_bpkd.metrics import keep_per_class
from mmseg_bpkd.segmentors import deployed_model


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--out', metavar='JSON', help='write every metric, per class too')
    parser.add_argument('--show-dir', help='write a picture of each prediction beside its label')
    add_common_arguments(parser)
    return parser.parse_args()


def test(cfg: Config, checkpoint: str) -> Dict[str, dict]:
    """Tests the segmentor that `cfg` describes.

    Returns:
        {'metrics': {name: percent}, 'per_class': {name: {class: percent, or None where the class does not occur}}}
    """
    cfg.model = deployed_model(cfg.model)
    cfg.load_from, cfg.resume = None, False
    runner = Runner.from_cfg(cfg)
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    load_strictly(model, segmentor_state(read_checkpoint(checkpoint)), checkpoint)

    runner._test_loop = runner.build_test_loop(runner._test_loop)
    kept = [keep_per_class(m) for m in runner.test_loop.evaluator.metrics if isinstance(m, IoUMetric)]
    metrics = runner.test()
    classes = runner.test_dataloader.dataset.metainfo['classes']
    per_class = {
        name: {cls: None if math.isnan(value) else round(value, 2) for cls, value in zip(classes, values)}
        for of_metric in kept for name, values in of_metric.items()
    }
    return dict(metrics={name: float(value) for name, value in metrics.items()}, per_class=per_class)


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    cfg.work_dir = args.work_dir or osp.join(cfg.work_dir, 'test')  # leave the config of the training alone
    if args.show_dir:
        cfg.default_hooks.visualization = dict(type='DrawPredictionsHook', draw=True, interval=1)
        cfg.visualizer.save_dir = args.show_dir
    check_data_roots(cfg, 'test_dataloader')
    use_available_devices(cfg)
    results = test(cfg, args.checkpoint)
    if args.out and is_main_process():
        with open(args.out, 'w') as file:
            json.dump(dict(config=args.config, checkpoint=args.checkpoint, **results), file, indent=2)
            file.write('\n')


if __name__ == '__main__':
    main()
