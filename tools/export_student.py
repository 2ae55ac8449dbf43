"""Export the student of a distillation as an MMSegmentation checkpoint and config.

    python tools/export_student.py CONFIG work_dirs/RUN/iter_80000.pth student.pth

writes student.pth (the student's weights, class names and palette) and student.py, its plain config. Give the same
--method and --cfg-options as for training. Load the student with

    import mmseg_bpkd  # only needed with mmcv-lite
    model = mmseg.apis.init_model('student.py', 'student.pth', device='cpu')
"""

import argparse
import os.path as osp
import sys

sys.path.insert(0, osp.join(osp.dirname(osp.abspath(__file__)), '..'))  # run from a checkout that is not installed

import mmseg_bpkd  # noqa: F401
from mmengine.registry import init_default_scope
from mmseg_bpkd.export import config_path, export_student
from mmseg_bpkd.launch import add_config_arguments, read_config, short_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='the config of the distillation')
    parser.add_argument('checkpoint')
    parser.add_argument('out', help='the checkpoint to write, NAME.pth; the config is written to NAME.py')
    parser.add_argument('--half', action='store_true', help='store the weights as float16, in half the space')
    add_config_arguments(parser)
    args = parser.parse_args()
    try:
        config_path(args.out)
    except ValueError as error:
        parser.error(str(error))
    return args


def main() -> None:
    args = parse_args()
    init_default_scope('mmseg')
    with short_errors(None, FileNotFoundError, ValueError):
        cfg = read_config(args.config, args.cfg_options, args.method)
    with short_errors(cfg):
        config = export_student(cfg, args.checkpoint, args.out, args.half)
    print(f'wrote {args.out} and {config}')


if __name__ == '__main__':
    main()
