"""Check the data sets of a config for errors.

    bpkd check configs/bpkd/bpkd_pspnet-r101_pspnet-r18_4xb4-80k_cityscapes-512x1024.py
    bpkd check CONFIG --all --workers 8 --cfg-options num_images.train=1000

Checks the names, number and last bytes of all files, and decodes as many as it can in one minute. Prints one sentence
per problem and writes report.json and samples.png.

Exit code: 0 without errors, 1 with errors, 2 if the config cannot be used or has no data set.
"""

import argparse
import os
import os.path as osp
import sys
from collections.abc import Sequence

from .arguments import add_config_arguments


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Returns the arguments, plus `cfg`, the loaded config, and `splits`, its data sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument(
        '--seconds',
        type=float,
        default=60,
        help='time limit for decoding, in seconds; files that look truncated are decoded first',
    )
    parser.add_argument('--all', action='store_true', help='decode every file, without a time limit')
    parser.add_argument(
        '--workers', type=int, default=os.cpu_count(), help='number of worker processes; 0 decodes in this process'
    )
    parser.add_argument('--out', help='folder for the results; default: work_dirs/check_dataset/<config>')
    parser.add_argument('--samples', type=int, default=8, help='number of samples in samples.png')
    add_config_arguments(parser, 'changes to the config, for example num_images.train=1000')
    args = parser.parse_args(argv)
    if args.seconds < 0 or args.workers < 0 or args.samples < 0:
        parser.error('--seconds, --workers and --samples must not be negative')
    from mmseg_bpkd.config.reading import read_config
    from mmseg_bpkd.datasets.check import splits_of

    try:
        args.cfg = read_config(args.config, args.cfg_options, args.method)
        args.splits = splits_of(args.cfg)
        args.out = args.out or osp.join('work_dirs/check_dataset', osp.splitext(osp.basename(args.cfg.filename))[0])
        os.makedirs(args.out, exist_ok=True)
    except Exception as error:
        parser.error(f'{args.config} with these options cannot be used: {type(error).__name__}: {error}')
    if not args.splits:
        parser.error(f'{args.config} has no data set in train_dataloader, val_dataloader or test_dataloader')
    return args


def show_progress(read: int, there: int) -> None:
    if sys.stderr.isatty():
        print(f'read {read} of {there}', end='\n' if read == there else '\r', file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from mmengine.registry import init_default_scope

    from mmseg_bpkd.config.errors import short_errors
    from mmseg_bpkd.datasets.check import check_datasets, write_report

    init_default_scope(args.cfg.get('default_scope') or 'mmseg')
    result = check_datasets(
        args.splits,
        args.cfg.get('num_images') or {},
        None if args.all else args.seconds,
        args.workers,
        show_progress,
        args.cfg.get('model'),
    )
    with short_errors(None, OSError):
        print(write_report(result, args.config, args.out, args.samples))
    return result.exit_code
