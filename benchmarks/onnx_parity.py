"""Compare ONNX files with PyTorch on test sets: logits, labels and metrics, for the table of docs/usage.md.

    python benchmarks/onnx_parity.py [NETWORK ...] [--camvid data/camvid] --out benchmarks/results/onnx_2_cores.json

Each network is trained from random weights for 100 or 300 iterations with crops of 64x64, only so that it predicts
several classes. Its metrics compare the two runtimes and are no result of the network. What the file `--out` already
holds is not repeated. The exit code is 1 if a metric differs by more than 0.01 points, or if a network predicts fewer
than three classes.
"""

import argparse
import json
import math
import os
import os.path as osp
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import date
from importlib.metadata import version
from unittest import mock

sys.path.insert(0, osp.join(osp.dirname(osp.abspath(__file__)), '..'))  # works in a checkout that is not installed

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

import mmseg_bpkd.engine  # noqa: F401
from mmseg_bpkd.deploy.onnx import export_onnx
from mmseg_bpkd.evaluation.evaluate import compare_with_onnx
from mmseg_bpkd.evaluation.onnx import OnnxNetwork
from mmseg_bpkd.fileio.package_files import load_config_file
from mmseg_bpkd.models.roles import start_from_scratch, student_config
from mmseg_bpkd.models.segmentors import resolve_segmentor

NETWORKS = {  # config, iterations, whether it can be exported for any size
    'PSPNet-R18': ('mmseg_bpkd::pspnet/pspnet_r18_4xb4-80k_cityscapes-512x1024.py', 300, True),
    'DeepLabV3+-MobileNetV2': (
        'mmseg_bpkd::deeplabv3plus/deeplabv3plus_mv2_4xb4-80k_cityscapes-512x1024.py',
        300,
        True,
    ),
    'HRNet-W18-small': ('mmseg_bpkd::fcn/fcn_hr18s_4xb4-80k_cityscapes-512x1024.py', 300, True),
    'UPerNet-Swin-T': ('mmseg_bpkd::upernet/upernet_swin-t_4xb4-80k_ade20k-512x512.py', 100, False),
    'Fast-SCNN': ('mmseg::fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024.py', 300, True),
}
DATA = {  # a config that trains on the data, and height and width of the test images
    'drawn scenes': ('mmseg_bpkd::pspnet/pspnet_r18w8_1xb8-600_synthetic-112x112.py', (120, 160)),
    'CamVid val': ('mmseg_bpkd::deeplabv3plus/deeplabv3plus_r18w16_1xb6-4k_camvid-240x320.py', (360, 480)),
}
CROP, BATCH_SIZE = (64, 64), 4
TOLERANCE = 0.01  # of a metric, in percentage points
LEAST_CLASSES, LEAST_SHARE = 3, 0.01  # a class counts if at least this share of the pixels gets it
FORMAT = (
    '{network}, {data}: largest difference of logits {difference:.1e}, {relative:.1e} of the largest logit; '
    '{differing_pixels} of {pixels} labels differ; {classes} classes predicted; (PyTorch, ONNX Runtime): {metrics}'
)


class LogitComparison:
    """Compares the logits of two passes over the same images. Those of the first pass are kept on the disk.

    Args:
        folder: an existing folder for them.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.kept = self.compared = self.images = self.differing_pixels = 0
        self.difference = self.largest = 0.0
        self.pixels_of_class = torch.zeros(0, dtype=torch.long)

    def keep(self, logits: Tensor) -> None:
        """Takes the next logits of the first pass, (N, C, H, W)."""
        np.save(osp.join(self.folder, f'{self.kept}.npy'), logits.cpu().numpy())
        self.kept += 1

    def compare(self, logits: Tensor) -> None:
        """Takes the next logits of the second pass, (N, C, H, W)."""
        expected = torch.from_numpy(np.load(osp.join(self.folder, f'{self.compared}.npy')))
        logits = logits.cpu()
        self.compared += 1
        self.images += len(expected)
        self.difference = max(self.difference, float((logits - expected).abs().max()))
        self.largest = max(self.largest, float(expected.abs().max()))
        labels = expected.argmax(1)
        self.differing_pixels += int((logits.argmax(1) != labels).sum())
        counts = labels.flatten().bincount(minlength=expected.shape[1])
        self.pixels_of_class = counts + self.pixels_of_class if len(self.pixels_of_class) else counts

    def result(self) -> dict:
        assert self.kept == self.compared
        pixels = int(self.pixels_of_class.sum())
        return dict(
            images=self.images,
            difference=self.difference,
            relative=self.difference / self.largest,
            differing_pixels=self.differing_pixels,
            pixels=pixels,
            classes=int((self.pixels_of_class >= LEAST_SHARE * pixels).sum()),
        )


def read_config(network: str, data: str, camvid: str, folder: str) -> Config:
    """Returns the config of a short training of a network on a data set, from random weights, and of its test.

    Args:
        network, data: names in `NETWORKS` and `DATA`.
        camvid: folder of CamVid.
        folder: the work directory.
    """
    path, iterations, _ = NETWORKS[network]
    cfg = load_config_file(DATA[data][0])
    model = student_config(load_config_file(path).model)
    cfg.model = resolve_segmentor(model, **cfg.task)
    start_from_scratch(cfg.model)
    cfg.model.data_preprocessor.size = CROP
    for transform in cfg.train_dataloader.dataset.pipeline:
        if transform.type == 'FastRandomCrop':
            transform.crop_size = CROP
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
        if 'data_root' in loader.dataset:
            loader.dataset.data_root = camvid
    cfg.train_dataloader.batch_size = BATCH_SIZE
    cfg.optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3))
    cfg.param_scheduler = None
    cfg.train_cfg.max_iters = iterations
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.default_hooks.checkpoint.save_best = None
    cfg.visualizer.vis_backends = []  # MMEngine keeps them for all runs of a process, with the folder of the first
    cfg.work_dir, cfg.log_level = folder, 'ERROR'
    return cfg


def measure(network: str, data: str, camvid: str) -> dict:
    """Trains a network, exports it, and tests both files. The arguments are those of `read_config`."""
    _, iterations, any_size = NETWORKS[network]
    size = None if any_size else DATA[data][1]
    with tempfile.TemporaryDirectory() as folder:
        cfg = read_config(network, data, camvid, folder)
        train(cfg)
        checkpoint, onnx = osp.join(folder, f'iter_{iterations}.pth'), osp.join(folder, 'network.onnx')
        export_onnx(cfg, checkpoint, onnx, size)
        logits = LogitComparison(folder)
        with ExitStack() as patches:
            for owner, name, take in (
                (MODELS.get('mmseg.EncoderDecoder'), 'encode_decode', logits.keep),
                (OnnxNetwork, '__call__', logits.compare),
            ):
                patches.enter_context(mock.patch.object(owner, name, passing_on(getattr(owner, name), take)))
            metrics = compare_with_onnx(cfg, checkpoint, onnx, tolerance=math.inf)
    return dict(
        network=network,
        data=data,
        iterations=iterations,
        size='x'.join(map(str, size)) if size else 'any',
        **logits.result(),
        metrics=metrics,
        **{package: version(package) for package in ('torch', 'onnx', 'onnxruntime')},
        cpu=torch.backends.cpu.get_cpu_capability(),
        date=date.today().isoformat(),
    )


def train(cfg: Config) -> None:
    runner = Runner.from_cfg(cfg.copy())
    for module in runner.model.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = 0.1  # Fast-SCNN's is 0.01, which would leave the statistics close to the initial ones
    runner.train()


def passing_on(method: Callable, take: Callable[[Tensor], None]) -> Callable:
    """Returns the method, which now also calls `take` with what it returns."""

    def call(self, *args, **kwargs) -> Tensor:
        returned = method(self, *args, **kwargs)
        take(returned)
        return returned

    return call


def problems(result: dict) -> Iterator[str]:
    """Yields what is wrong with a result, as sentences."""
    where = f'{result["network"]}, {result["data"]}'
    for name, (torch_value, onnx_value) in result['metrics'].items():
        if not round(abs(torch_value - onnx_value), 4) <= TOLERANCE:
            yield f'{where}: {name} is {torch_value} with PyTorch but {onnx_value} with ONNX Runtime'
    if result['classes'] < LEAST_CLASSES:
        yield (
            f'{where}: only {result["classes"]} classes have {LEAST_SHARE:.0%} of the predicted pixels, so equal '
            'metrics show little: train longer'
        )


def read_results(path: str) -> dict[tuple[str, str], dict]:
    if not osp.isfile(path):
        return {}
    with open(path) as file:
        return {(result['network'], result['data']): result for result in json.load(file)['onnx']}


def write_results(path: str, results: dict[tuple[str, str], dict]) -> None:
    in_order = [results[key] for key in ((network, data) for network in NETWORKS for data in DATA) if key in results]
    with open(f'{path}.part', 'w') as file:
        json.dump(dict(onnx=in_order), file, indent=2)
    os.replace(f'{path}.part', path)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'networks', nargs='*', metavar='NETWORK', choices=[[], *NETWORKS], help=f'any of {", ".join(NETWORKS)}'
    )
    parser.add_argument('--camvid', default='data/camvid', help='the folder of CamVid; default: data/camvid')
    parser.add_argument('--out', metavar='JSON', required=True)
    args = parser.parse_args()
    if not osp.isdir(args.camvid):
        parser.error(f'--camvid: no folder {args.camvid}; docs/data.md says how to prepare CamVid')
    return args


def main() -> None:
    args = parse_args()
    init_default_scope('mmseg')
    results = read_results(args.out)
    chosen = [(network, data) for network in args.networks or NETWORKS for data in DATA]
    for key in chosen:
        if key not in results:
            results[key] = measure(*key, args.camvid)
            write_results(args.out, results)  # after each result, so that a later failure loses nothing
        print(FORMAT.format(**results[key]), flush=True)
    found = [problem for key in chosen for problem in problems(results[key])]
    if found:
        sys.exit('\n'.join(found))


if __name__ == '__main__':
    main()
