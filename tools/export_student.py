"""Export the student of a distillation as an MMSegmentation checkpoint and config.

    python tools/export_student.py CONFIG work_dirs/RUN/iter_80000.pth student.pth

writes student.pth (the student's weights, class names and palette) and student.py, its plain config. Load them with

    import mmseg_bpkd  # only needed with mmcv-lite
    model = mmseg.apis.init_model('student.py', 'student.pth', device='cpu')
"""

import argparse
import os.path as osp
import sys

sys.path.insert(0, osp.join(osp.dirname(osp.abspath(__file__)), '..'))  # run from a checkout that is not installed

import mmseg_bpkd  # noqa: F401
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from mmseg_bpkd.export import config_path, export_student


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='the config of the distillation')
    parser.add_argument('checkpoint')
    parser.add_argument('out', help='the checkpoint to write, NAME.pth; the config is written to NAME.py')
    parser.add_argument('--half', action='store_true', help='store the weights as float16, in half the space')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        metavar='KEY=VALUE',
        help='the changes to the config that the run was started with',
    )
    args = parser.parse_args()
    try:
        config_path(args.out)
    except ValueError as error:
        parser.error(str(error))
    return args


def main() -> None:
    args = parse_args()
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options)
    init_default_scope('mmseg')
    config = export_student(cfg, args.checkpoint, args.out, args.half)
    print(f'wrote {args.out} and {config}')


if __name__ == '__main__':
    main()
