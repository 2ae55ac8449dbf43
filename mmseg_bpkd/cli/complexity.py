"""Parameters, operations and frames per second of the networks of configs.

    bpkd complexity configs/bpkd/bpkd_pspnet-r101_pspnet-r18_4xb4-80k_ade20k-512x512.py

Parameters are counted with and without the auxiliary head, which only training needs. GFLOPs are 10^9 operations up to
the logits, as MMEngine counts them:

- A multiply-add of a convolution or a matrix product is one operation.
- Normalization, pooling and resizing count one to four operations per value.
- Activations and the sampling of deformable attention are not counted.

Frames per second are measured with batch size 1 up to the logits, on a GPU if there is one. The value is that of the
median run. With `--onnx`, ONNX Runtime is measured, too, up to the logits at the size of the image. Its installed
package decides whether it uses the GPU. The device stands beside each value.
"""

import argparse
import json
import os.path as osp
from typing import TYPE_CHECKING

from .arguments import add_config_arguments

if TYPE_CHECKING:
    from mmengine.config import Config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+', metavar='CONFIG')
    parser.add_argument(
        '--size',
        nargs=2,
        type=int,
        metavar=('HEIGHT', 'WIDTH'),
        help='size of the image; default: crop_size of the config',
    )
    parser.add_argument('--runs', type=int, default=5, help='number of timed runs; 0 does not measure the speed')
    parser.add_argument('--onnx', action='store_true', help='also measure the speed in ONNX Runtime, with one image')
    parser.add_argument('--out', metavar='JSON', help='also write the results to this file, after each network')
    add_config_arguments(parser, 'changes to every config, for example model.student.backbone.depth=34')
    args = parser.parse_args()
    if args.onnx and args.runs < 1:
        parser.error('--onnx measures the speed, which needs --runs 1 or more')
    return args


def main() -> None:
    args = parse_args()
    from mmengine.model import revert_sync_batchnorm
    from mmengine.registry import init_default_scope

    from mmseg_bpkd.analysis.complexity import measure, segmentors
    from mmseg_bpkd.config.errors import short_errors
    from mmseg_bpkd.config.reading import read_config
    from mmseg_bpkd.fileio.writing import check_writable, write_json
    from mmseg_bpkd.models.segmentors import build_segmentor

    init_default_scope('mmseg')
    results, seen = [], set()
    onnx = ' ONNX Runtime |' if args.onnx else ''
    print(f'| network | | parameters, M | deployed, M | GFLOPs | size | frames per second |{onnx}')
    print('|---|---|---:|---:|---:|---|---:|' + ('---:|' if args.onnx else ''))
    with short_errors(None, OSError):
        check_writable(*filter(None, [args.out]))  # before the work
    for path in args.configs:
        with short_errors(None, FileNotFoundError, ValueError):
            cfg = read_config(path, args.cfg_options, args.method)
            size = image_size(cfg, args)
        for role, config in segmentors(cfg):
            key = json.dumps((config.to_dict(), size))
            if key in seen:
                continue
            seen.add(key)
            with short_errors(cfg, ImportError, ValueError):
                model = revert_sync_batchnorm(build_segmentor(config)).eval()
                result = dict(
                    config=osp.relpath(path),
                    role=role,
                    name=describe(path, role),
                    **measure(model, size, args.runs, args.onnx),
                )
            results.append(result)
            speed = f'{result["frames_per_second"]:.1f} ({result["device"]})' if args.runs else ''
            if args.onnx:
                speed += f' | {result["onnx_frames_per_second"]:.1f} ({result["onnx_device"]})'
            print(
                f'| {result["name"]} | {role} | {result["parameters"] / 1e6:.2f} | '
                f'{result["parameters_deployed"] / 1e6:.2f} | {result["operations"] / 1e9:.2f} | '
                f'{size[0]}x{size[1]} | {speed} |',
                flush=True,
            )
            if args.out:  # after each network, because the next one may fail
                with short_errors(None, OSError):
                    write_json(args.out, results)


def image_size(cfg: 'Config', args: argparse.Namespace) -> tuple[int, int]:
    size = args.size or cfg.get('crop_size')
    if not size:
        raise ValueError(f'{cfg.filename} has no crop_size: give the size of the image with --size HEIGHT WIDTH')
    return tuple(size)


def describe(path: str, role: str) -> str:
    """Returns the network's part of a config name METHOD_TEACHER_STUDENT_SCHEDULE_DATA, else the whole name."""
    name = osp.splitext(osp.basename(path))[0]
    parts = name.split('_')
    return parts[-4 if role == 'teacher' else -3] if role != 'network' and len(parts) >= 5 else name
