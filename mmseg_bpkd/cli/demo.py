"""Train four small students, and compare them with their teacher.

    bpkd demo                       on synthetic scenes, without a download
    bpkd demo --data data/camvid    on CamVid

The students are one network, trained alone and with KD, CWD and BPKD. The teacher comes with this package. Prints a
table. Writes the table, the results and a picture to work_dirs/demo/. An interrupted demo resumes.
"""

import argparse
import os.path as osp


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', metavar='PATH', help='folder of CamVid; default: synthetic scenes')
    parser.add_argument('--iterations', type=int, default=300, help='number of iterations of each student')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--work-dir', help='default: work_dirs/demo or work_dirs/demo_camvid')
    args = parser.parse_args()
    if args.iterations < 1:
        parser.error(f'--iterations must be at least 1, got {args.iterations}')
    return args


def main() -> None:
    args = parse_args()
    from mmseg_bpkd.config.errors import short_errors
    from mmseg_bpkd.fileio.work_dir import WorkDirInUse

    from .demo_run import Settings, run_demo

    work_dir = args.work_dir or osp.join('work_dirs', 'demo_camvid' if args.data else 'demo')
    with short_errors(None, FileNotFoundError, ValueError, WorkDirInUse):
        run_demo(Settings(args.data, args.iterations, work_dir, args.seed))
