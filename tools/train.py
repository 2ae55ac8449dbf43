"""Train a plain or a distillation config.

    python tools/train.py configs/bpkd/bpkd_pspnet-r18w32_pspnet-r18w16_1xb8-2k_camvid-192x192.py
    python tools/train.py CONFIG --resume auto --amp --seed 1 --cfg-options model.teacher_ckpt=teacher.pth

Several GPUs: tools/dist_train.sh; Slurm: tools/slurm_train.sh.
"""

import argparse
import os.path as osp
import sys

sys.path.insert(0, osp.join(osp.dirname(osp.abspath(__file__)), '..'))  # a checkout works without being installed

import mmseg_bpkd  # noqa: F401
from mmengine.config import Config
from mmengine.runner import Runner, find_latest_checkpoint
from mmseg_bpkd.launch import (
    add_common_arguments,
    check_data_roots,
    end_process_group,
    load_config,
    use_available_devices,
    warn_of_another_batch_size,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='PATH',
        help='continue from a checkpoint; from the last one in the work directory if "auto" or empty',
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision')
    parser.add_argument('--seed', type=int, help='default: the one of the config; of the checkpoint when resuming')
    parser.add_argument('--deterministic', action='store_true', help='only deterministic kernels on a GPU')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by the batch of all processes over the one of the recipe',
    )
    add_common_arguments(parser)
    return parser.parse_args()


def apply_training_options(cfg: Config, args: argparse.Namespace) -> None:
    cfg.setdefault('randomness', dict(seed=0))
    if args.seed is not None:
        cfg.randomness.seed = args.seed
    if args.deterministic:
        cfg.randomness.deterministic = True
    if args.amp:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise ValueError('--auto-scale-lr: the config has no auto_scale_lr.base_batch_size to scale by')
        cfg.auto_scale_lr.enable = True
        # mmengine does not count the steps that are accumulated
        cfg.auto_scale_lr.base_batch_size /= cfg.optim_wrapper.get('accumulative_counts', 1)
    if args.resume == 'auto':
        last = find_latest_checkpoint(cfg.work_dir)
        if last:  # otherwise this is the first start, which may load_from elsewhere
            cfg.resume, cfg.load_from = True, last
    elif args.resume:
        if not osp.isfile(args.resume):
            raise FileNotFoundError(f'--resume: no checkpoint {args.resume}')
        cfg.resume, cfg.load_from = True, args.resume


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    apply_training_options(cfg, args)
    check_data_roots(cfg, 'train_dataloader', 'val_dataloader')
    use_available_devices(cfg)
    runner = Runner.from_cfg(cfg)
    warn_of_another_batch_size(runner)
    runner.train()
    end_process_group()


if __name__ == '__main__':
    main()
