"""Train a segmentor, with or without distillation.

    bpkd train configs/bpkd/bpkd_pspnet-r50_pspnet-r18_1xb8-20k_camvid-360x360.py
    bpkd train CONFIG --resume auto --amp --seed 1 --cfg-options model.teacher_ckpt=teacher.pth
    bpkd train CONFIG --method cwd --from-scratch

Several GPUs: tools/dist_train.sh; Slurm: tools/slurm_train.sh.
"""

import argparse

from .arguments import add_common_arguments


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='PATH',
        help='resume from this checkpoint; with "auto" or no value, from the last one in the work directory',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='mixed precision: float16 on a GPU, or bfloat16 with --cfg-options optim_wrapper.dtype=bfloat16; '
        'bfloat16 on a CPU',
    )
    parser.add_argument('--seed', type=int, help='default: the seed of the config, or of the checkpoint if resuming')
    parser.add_argument(
        '--deterministic',
        action='store_true',
        help='use deterministic GPU kernels where they exist; PyTorch warns about the others',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate in proportion to the total batch size of all processes',
    )
    parser.add_argument(
        '--from-scratch',
        action='store_true',
        help='the student starts from random weights, not from pretrained ones; the teacher keeps its checkpoint',
    )
    add_common_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from mmseg_bpkd.config.errors import short_errors
    from mmseg_bpkd.config.reading import load_config
    from mmseg_bpkd.datasets.check import check_data
    from mmseg_bpkd.engine.devices import use_available_devices
    from mmseg_bpkd.engine.train import apply_training_options, check_settings, locked_folders, train
    from mmseg_bpkd.fileio.console import ConsoleRunner

    with short_errors(None, FileNotFoundError, ValueError, launcher=args.launcher):
        cfg = load_config(args)
    with short_errors(cfg, FileNotFoundError, PermissionError, launcher=args.launcher), locked_folders(cfg):
        apply_training_options(cfg, args)
        check_data(cfg, 'train', 'val')
        use_available_devices(cfg)
        runner = ConsoleRunner.from_cfg(cfg)
        check_settings(runner)
        train(runner)
