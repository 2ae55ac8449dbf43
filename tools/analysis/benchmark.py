"""Measure what this project claims to be fast, against what one would use instead.

    python tools/analysis/benchmark.py masks [--runs 9] [--out masks.json]
    python tools/analysis/benchmark.py losses [METHOD ...]
    python tools/analysis/benchmark.py step CONFIG [CONFIG ...] [--cfg-options KEY=VALUE ...]

What is compared runs in turn (A B A B ...) in one process after a warm-up; a ratio is the median over the turns, with
the least and the most. Memory is what the peak of the resident set grows by, in a process of its own. CPU, Linux.
"""
import argparse
import json
import os.path as osp
import sys

sys.path.insert(0, osp.join(osp.dirname(osp.abspath(__file__)), '../..'))  # a checkout works without being installed

import mmseg_bpkd  # noqa: F401
import torch
from benchmarks import losses, masks, step
from mmengine.config import DictAction


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest='what', required=True)
    for name, module in (('masks', masks), ('losses', losses), ('step', step)):
        command = commands.add_parser(name, help=module.__doc__, description=module.__doc__)
        command.add_argument('--runs', type=int, default=9, help='counted turns')
        command.add_argument('--out', metavar='JSON')
        if name == 'losses':
            command.add_argument('methods', nargs='*', metavar='METHOD', choices=[[], *losses.METHODS],
                                 help=f'of {", ".join(losses.METHODS)}; default: all')
        if name == 'step':
            command.add_argument('configs', nargs='+', metavar='CONFIG')
            command.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.what == 'masks':
        module, results = masks, masks.compare(args.runs)
    elif args.what == 'losses':
        module, results = losses, losses.compare(args.runs, args.methods)
    else:
        module, results = step, step.compare(args.runs, args.configs, args.cfg_options)
    print(f'torch {torch.__version__}, {torch.get_num_threads()} threads, {args.runs} turns. {module.__doc__}')
    shown = []
    for result in results:
        print(module.FORMAT.format(**result), flush=True)
        shown.append(result)
    if args.out:
        with open(args.out, 'w') as file:
            json.dump({'torch': torch.__version__, 'threads': torch.get_num_threads(), args.what: shown}, file,
                      indent=2)


if __name__ == '__main__':
    main()
