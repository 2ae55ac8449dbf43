"""Export the student of a distillation as an MMSegmentation checkpoint and config.

    bpkd export CONFIG work_dirs/RUN/iter_80000.pth student.pth

writes student.pth (the student's weights, class names and palette) and student.py, its plain config. Give the same
--method and --cfg-options as for training. Load the student with

    import mmseg_bpkd  # only needed with mmcv-lite
    model = mmseg.apis.init_model('student.py', 'student.pth', device='cpu')

    bpkd export CONFIG work_dirs/RUN/iter_80000.pth student.onnx --format onnx --size 512 1024

writes an ONNX file and compares its logits with those of PyTorch.
"""

import argparse
import os
import os.path as osp
from typing import TYPE_CHECKING

from .arguments import add_config_arguments

if TYPE_CHECKING:
    from mmengine.config import Config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='the config of the distillation')
    parser.add_argument('checkpoint')
    parser.add_argument(
        'out',
        help='the file to write: NAME.pth, with the config in NAME.py; NAME.safetensors for --safetensors; NAME.onnx '
        'for --format onnx',
    )
    parser.add_argument('--format', choices=['pytorch', 'onnx'], default='pytorch')
    parser.add_argument(
        '--size',
        nargs=2,
        type=int,
        metavar=('HEIGHT', 'WIDTH'),
        help='ONNX: the only size of images that the file accepts, one image at a time; default: any',
    )
    parser.add_argument(
        '--opset', type=int, metavar='N', help='ONNX: version of the operators of the file, 17 or higher; default: 20'
    )
    parser.add_argument(
        '--check-data',
        action='store_true',
        help='ONNX: also compare the metrics on the test set with those of PyTorch; if one differs, nothing is written '
        'and the exit code is 1',
    )
    parser.add_argument('--safetensors', action='store_true', help='write the weights as a safetensors file')
    parser.add_argument('--half', action='store_true', help='store the weights as float16, in half the space')
    add_config_arguments(parser)
    args = parser.parse_args()
    if args.format == 'pytorch':
        suffix = '.safetensors' if args.safetensors else '.pth'
        if not args.out.endswith(suffix):
            hint = ', or add --safetensors' if args.out.endswith('.safetensors') else ''
            parser.error(f'the exported checkpoint must be named *{suffix}, got {args.out}{hint}')
        if args.size or args.opset or args.check_data:
            parser.error('--size, --opset and --check-data are for --format onnx')
    elif args.half or args.safetensors:
        parser.error('--half and --safetensors are for --format pytorch')
    elif not args.out.endswith('.onnx'):
        parser.error(f'the exported file must be named *.onnx, got {args.out}')
    return args


def write_onnx_file(cfg: 'Config', args: argparse.Namespace) -> None:
    from mmseg_bpkd.deploy.onnx import OPSET, export_onnx
    from mmseg_bpkd.evaluation.evaluate import compare_with_onnx

    name = osp.splitext(args.out)[0]
    path = f'{name}.unchecked.onnx' if args.check_data else args.out
    difference = export_onnx(cfg, args.checkpoint, path, args.size, opset=args.opset or OPSET)
    print(f'the largest difference from PyTorch is {difference:.1e} of the largest logit')
    if args.check_data:
        cfg.work_dir = f'{name}_check'  # of the logs
        try:
            for metric, values in compare_with_onnx(cfg, args.checkpoint, path).items():
                print(f'{metric}: {values[0]} in PyTorch, {values[1]} with the ONNX file')
            os.replace(path, args.out)
        finally:
            if osp.exists(path):
                os.remove(path)
    print(f'wrote {args.out}')


def main() -> None:
    args = parse_args()
    from mmengine.registry import init_default_scope

    from mmseg_bpkd.config.errors import short_errors
    from mmseg_bpkd.config.reading import read_config
    from mmseg_bpkd.datasets.check import check_data
    from mmseg_bpkd.deploy.student import export_student

    init_default_scope('mmseg')
    with short_errors(None, FileNotFoundError, ValueError):
        cfg = read_config(args.config, args.cfg_options, args.method)
        if args.check_data:
            check_data(cfg, 'test')
    with short_errors(cfg, ImportError, OSError, ValueError):
        if args.format == 'onnx':
            write_onnx_file(cfg, args)
            return
        config = export_student(cfg, args.checkpoint, args.out, args.half)
    print(f'wrote {args.out} and {config}')
