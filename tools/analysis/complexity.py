"""Parameters, operations and frames per second of the networks of configs.

    python tools/analysis/complexity.py configs/bpkd/bpkd_pspnet-r101_pspnet-r18_4xb4-80k_ade20k-512x512.py

Parameters are counted with the auxiliary head, which only training needs, and without. GFLOPs are 10^9 operations up to
the logits as MMEngine counts them: a multiply-add of a convolution or a matrix product is one; normalisation, pooling
and resizing count a little; activations and the sampling of deformable attention do not. Frames per second: batch 1 up
to the logits, median of the runs, on a GPU where there is one.
"""

import argparse
import json
import os.path as osp
import statistics
import sys
import time
import warnings
from typing import Iterator, Tuple

sys.path.insert(0, osp.join(osp.dirname(osp.abspath(__file__)), '../..'))  # a checkout works without being installed

warnings.filterwarnings('ignore')  # of the packages below

import mmseg_bpkd  # noqa: F401
import torch
from mmengine.analysis import FlopAnalyzer, parameter_count
from mmengine.config import Config
from mmengine.model import BaseModel, revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmseg_bpkd.segmentors import build_segmentor, student_config, resolve_segmentor


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+', metavar='CONFIG')
    parser.add_argument('--size', nargs=2, type=int, metavar=('HEIGHT', 'WIDTH'), help="default: the config's crop")
    parser.add_argument('--runs', type=int, default=5, help='timed passes; 0 leaves the frames per second out')
    parser.add_argument('--out', metavar='JSON')
    return parser.parse_args()


def segmentors(cfg: Config) -> Iterator[Tuple[str, dict]]:
    """('teacher' or 'student', model config) of a distillation; ('network', model config) of a plain config."""
    if cfg.model.type == 'SegDistill':
        yield 'teacher', resolve_segmentor(cfg.model.teacher, cfg.model.get('num_classes'), cfg.model.data_preprocessor)
        yield 'student', student_config(cfg.model)
    else:
        yield 'network', student_config(cfg.model)


def measure(model: BaseModel, size: Tuple[int, int], runs: int) -> dict:
    image = torch.randn(1, 3, *size)
    training_only = parameter_count(model.auxiliary_head)[''] if model.with_auxiliary_head else 0
    total = parameter_count(model)['']
    result = dict(
        parameters=total,
        parameters_deployed=total - training_only,
        size=list(size),
        operations=operations(model, image),
    )
    if runs:
        device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
        result.update(
            frames_per_second=frames_per_second(model.to(device), image.to(device), runs),
            device=torch.cuda.get_device_name() if device.type == 'cuda' else f'CPU, {torch.get_num_threads()} threads',
        )
    return result


def operations(model: BaseModel, image: torch.Tensor) -> int:
    counter = FlopAnalyzer(model, image).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    counter.set_op_handle('aten::scaled_dot_product_attention', _attention)
    return int(counter.total())


def _attention(inputs: list, outputs: list) -> int:
    """Multiply-adds of the two products of attention: of queries with keys, and of weights with values."""
    (query, key, value) = (x.type().sizes() for x in inputs[:3])
    batch_heads, length = torch.Size(query[:-2]).numel(), query[-2]
    return batch_heads * length * key[-2] * (query[-1] + value[-1])


@torch.no_grad()
def frames_per_second(model: BaseModel, image: torch.Tensor, runs: int) -> float:
    times = []
    for _ in range(runs + 2):
        _synchronise(image)
        start = time.perf_counter()
        model(image, mode='tensor')
        _synchronise(image)
        times.append(time.perf_counter() - start)
    return 1 / statistics.median(times[2:])  # the first two warm up


def _synchronise(x: torch.Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize()


def main() -> None:
    args = parse_args()
    init_default_scope('mmseg')
    results, seen = [], set()
    print('| network | | parameters, M | deployed, M | GFLOPs | size | frames per second |')
    print('|---|---|---:|---:|---:|---|---:|')
    for path in args.configs:
        cfg = Config.fromfile(path)
        size = tuple(args.size or cfg.crop_size)
        for role, config in segmentors(cfg):
            key = json.dumps((config.to_dict(), size))
            if key in seen:
                continue
            seen.add(key)
            model = revert_sync_batchnorm(build_segmentor(config)).eval()
            result = dict(
                config=osp.relpath(path), role=role, name=describe(path, role), **measure(model, size, args.runs)
            )
            results.append(result)
            speed = f'{result["frames_per_second"]:.1f}' if args.runs else ''
            print(
                f'| {result["name"]} | {role} | {result["parameters"] / 1e6:.2f} | '
                f'{result["parameters_deployed"] / 1e6:.2f} | {result["operations"] / 1e9:.2f} | '
                f'{size[0]}x{size[1]} | {speed} |',
                flush=True,
            )
    if args.out:
        with open(args.out, 'w') as file:
            json.dump(results, file, indent=2)


def describe(path: str, role: str) -> str:
    """The network's part of a name like METHOD_TEACHER_STUDENT_SCHEDULE_DATA; the whole name of another config."""
    name = osp.splitext(osp.basename(path))[0]
    parts = name.split('_')
    return parts[-4 if role == 'teacher' else -3] if role != 'network' and len(parts) >= 5 else name


if __name__ == '__main__':
    main()
