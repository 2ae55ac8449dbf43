"""Compare speed and memory with baselines: MMRazor's CWD, one-hot morphology, MMSegmentation's pipeline and metric.

    python benchmarks/benchmark.py budgets [--runs 9] [--out budgets.json] [--size 384 384] [--batch-size 2]
    python benchmarks/benchmark.py masks
    python benchmarks/benchmark.py losses
    python benchmarks/benchmark.py step [CONFIG ...] [--bfloat16] [--size 256 256] [--batch-size 2]
                                        [--cfg-options KEY=VALUE ...]
    python benchmarks/benchmark.py test
    python benchmarks/benchmark.py data
    python benchmarks/benchmark.py scale [--size 256 256] [--batch-size 2]
    python benchmarks/benchmark.py methods [METHOD ...]

The candidates run alternately (A B A B ...) in one process, after a warm-up. A ratio is the median over the repeats,
with the minimum and the maximum. Memory is the peak minus the start: of the CUDA allocator on a GPU, of the resident
set of a new process on a CPU (Linux).
"""

import argparse
import json
import os.path as osp
import sys

sys.path.insert(0, osp.join(osp.dirname(osp.abspath(__file__)), '..'))  # for this folder
sys.path.insert(1, osp.join(osp.dirname(osp.abspath(__file__)), '../tests'))  # for reference.py

import torch
from mmengine.config import DictAction

import mmseg_bpkd.engine  # noqa: F401
from benchmarks import budgets, data, losses, masks, methods, scale, step, testing


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest='what', required=True)
    for name, module in (
        ('budgets', budgets),
        ('masks', masks),
        ('losses', losses),
        ('step', step),
        ('test', testing),
        ('data', data),
        ('scale', scale),
        ('methods', methods),
    ):
        command = commands.add_parser(name, help=module.__doc__, description=module.__doc__)
        command.add_argument('--runs', type=int, default=9, help='number of repeats')
        command.add_argument('--out', metavar='JSON')
        if name == 'methods':
            command.add_argument(
                'methods',
                nargs='*',
                metavar='METHOD',
                choices=[[], *methods.METHODS],
                help=f'any of {", ".join(methods.METHODS)}; default: all',
            )
        if name in ('budgets', 'step', 'scale'):
            command.add_argument('--size', nargs=2, type=int, metavar=('HEIGHT', 'WIDTH'))
            command.add_argument('--batch-size', type=int)
        if name == 'step':
            command.add_argument('configs', nargs='*', metavar='CONFIG')
            command.add_argument('--bfloat16', action='store_true', help='also run each config in bfloat16')
            command.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE')
    return parser.parse_args()


def where() -> str:
    gpu = torch.cuda.is_available()
    return torch.cuda.get_device_name() if gpu else f'CPU, {torch.get_num_threads()} threads'


def main() -> None:
    args = parse_args()
    if args.what == 'step':
        module = step
        results = step.compare(
            args.runs, args.configs, args.cfg_options, args.size, args.batch_size, bfloat16=args.bfloat16
        )
    elif args.what in ('budgets', 'scale'):
        module = dict(budgets=budgets, scale=scale)[args.what]
        results = module.compare(args.runs, args.size, args.batch_size)
    elif args.what == 'methods':
        module, results = methods, methods.compare(args.runs, args.methods)
    else:
        module = dict(masks=masks, losses=losses, test=testing, data=data)[args.what]
        results = module.compare(args.runs)
    print(f'torch {torch.__version__}, {where()}, {args.runs} turns. {module.__doc__}')
    shown = []
    for result in results:
        print(module.FORMAT.format(**result), flush=True)
        shown.append(result)
        if args.out:  # after each result, so that a later failure loses nothing
            with open(args.out, 'w') as file:
                json.dump({'torch': torch.__version__, 'device': where(), args.what: shown}, file, indent=2)


if __name__ == '__main__':
    main()
