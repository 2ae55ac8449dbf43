"""The norm of the gradient of each loss, to balance the weights of a distillation.

    bpkd gradients CONFIG --checkpoint STUDENT.pth
    bpkd gradients CONFIG --method cwd --cfg-options model.distiller.losses.loss_cwd.weight=1

The norm is that of the gradient with respect to all weights of the student, as a mean over some training batches. The
last column compares it with the gradient of the student's own losses. Trained layers of a loss have their initial
weights. Hooks do not run, so AdaptiveLossWeightHook changes nothing.
"""

import argparse
import os.path as osp

from .arguments import add_config_arguments


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+', metavar='CONFIG')
    parser.add_argument('--checkpoint', help="the student's weights; default: as training starts")
    parser.add_argument('--batches', type=int, default=8, help='number of training batches')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', metavar='JSON', help='also write the results to this file')
    add_config_arguments(parser, 'changes to every config')
    args = parser.parse_args()
    if args.batches < 1:
        parser.error(f'--batches must be at least 1, got {args.batches}')
    return args


def main() -> None:
    args = parse_args()
    from mmengine.logging import MMLogger

    from mmseg_bpkd.analysis.gradients import TASK, measure_gradients
    from mmseg_bpkd.config.errors import short_errors
    from mmseg_bpkd.config.reading import read_config
    from mmseg_bpkd.datasets.check.roots import check_data_roots
    from mmseg_bpkd.fileio.writing import check_writable, write_json

    MMLogger.get_current_instance().setLevel('ERROR')  # else it lists how every weight was initialized
    results = {}
    with short_errors(None, OSError):
        check_writable(*filter(None, [args.out]))  # before the work
    print('| config | loss | value | gradient | relative to the task |\n|---|---|---:|---:|---:|')
    for path in args.configs:
        with short_errors(None, FileNotFoundError, ValueError):
            cfg = read_config(path, args.cfg_options, args.method)
            check_data_roots(cfg, 'train_dataloader')
            results[path] = measure_gradients(cfg, args.checkpoint, args.batches, args.seed)
        name, task = osp.splitext(osp.basename(cfg.filename))[0], results[path][TASK]['norm']
        for loss, row in results[path].items():
            print(
                f'| {name} | {loss} | {row["value"]:.4g} | {row["norm"]:.4g} | {row["norm"] / task:.3g} |', flush=True
            )
    if args.out:
        with short_errors(None, OSError):
            write_json(args.out, dict(checkpoint=args.checkpoint, batches=args.batches, gradients=results))
