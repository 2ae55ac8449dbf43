"""Train and test a grid of configs, seeds and options, and summarize the results.

    bpkd experiment GRID --jobs 2             # two runs at a time
    bpkd experiment GRID --only 'bpkd-*'      # some of the runs
    bpkd experiment GRID --submitit slurm_partition=gpu gpus_per_node=1 timeout_min=600
    bpkd experiment summarize FOLDER          # tables, plots and a report from a folder of results

GRID is a Python, YAML or JSON file; docs/experiments.md describes it. Interrupted runs resume, finished runs are not
repeated. If a run crashes, the others go on, and the exit code is 1.
"""

import argparse
import os.path as osp
import sys
from fnmatch import fnmatch

from .arguments import CfgOptions, add_cfg_options


def parse_grid_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('grid')
    parser.add_argument('--jobs', type=int, help='how many runs at a time; default: 1, and all of them with --submitit')
    parser.add_argument(
        '--only', nargs='+', metavar='PATTERN', help="names of the runs to do, such as 'kd-0' or 'kd-*'"
    )
    parser.add_argument('--list', action='store_true', help='print the runs and stop')
    parser.add_argument(
        '--submitit',
        nargs='*',
        action=CfgOptions,
        metavar='KEY=VALUE',
        help='submit the runs through submitit, to Slurm if it is there; KEYs are parameters of its AutoExecutor',
    )
    add_cfg_options(parser, 'changes to the config of every run')
    args = parser.parse_args()
    if args.jobs is not None and args.jobs < 1:
        parser.error(f'--jobs must be at least 1, got {args.jobs}')
    return args


def run(args: argparse.Namespace) -> int:
    from mmseg_bpkd.grids.grid_file import load_grid
    from mmseg_bpkd.grids.processes import LocalProcess, SubmititJob, submitit_executor
    from mmseg_bpkd.grids.scheduler import run_grid

    grid = load_grid(args.grid, args.cfg_options)
    if args.only:
        names = [run.id for run in grid.runs]
        for pattern in args.only:
            if not any(fnmatch(name, pattern) for name in names):
                raise SystemExit(f'--only {pattern}: no such run, {args.grid} has {", ".join(names)}')
        grid.runs = [run for run in grid.runs if any(fnmatch(run.id, pattern) for pattern in args.only)]
    if args.list:
        for run in grid.runs:
            print(f'{"finished" if grid.is_finished(run) else "to do":8}  {run.id}')
        return 0
    if args.submitit is None:
        parallel = args.jobs or 1
        return run_grid(grid, parallel, lambda command, log, slot: LocalProcess(command, log, slot, parallel))
    executor = submitit_executor(osp.join(grid.work_dir, 'submitit'), args.submitit)
    return run_grid(grid, args.jobs or len(grid.runs), lambda command, log, _: SubmititJob(executor, command, log))


def parse_summarize_args() -> argparse.Namespace:
    prog = f'{osp.basename(sys.argv[0])} summarize'
    about = 'Write tables, plots and a report from a folder of results.'
    parser = argparse.ArgumentParser(prog=prog, description=about)
    parser.add_argument('folder', help='folder with the JSON files of the runs')
    parser.add_argument('--out', help='folder to write to; default: FOLDER/summary')
    parser.add_argument('--names', nargs='+', help='which runs to show, in this order, without seeds; default: all')
    parser.add_argument('--against', nargs='+', help='compare with these; default: student, or else the first name')
    parser.add_argument('--metrics', nargs='+', help='such as mIoU trimap/mIoU@3px; default: each mean IoU')
    parser.add_argument(
        '--block',
        type=int,
        default=1,
        help='the image bootstrap draws blocks of this many neighboring images; more than 1 for frames of a video',
    )
    parser.add_argument('--pictures', nargs='+', default=[], metavar='PNG', help='pictures to add to the report')
    return parser.parse_args(sys.argv[2:])


def main() -> int:
    summary = sys.argv[1:2] == ['summarize']
    args = parse_summarize_args() if summary else parse_grid_args()
    from mmseg_bpkd.config.errors import short_errors
    from mmseg_bpkd.grids.summary import summarize

    with short_errors(None, FileNotFoundError, ModuleNotFoundError, ValueError):
        if summary:
            out = args.out or osp.join(args.folder, 'summary')
            summarize(args.folder, out, args.names, args.against, args.metrics, args.block, args.pictures)
            print(f'written: {out}/report.html, summary.md, runs.csv and plots')
            return 0
        try:
            return min(run(args), 1)
        except KeyboardInterrupt:
            return 130
