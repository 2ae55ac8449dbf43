"""Loading and augmenting a training image in one worker, against MMSegmentation's pipeline with the same seeds.

Uses files of drawn scenes with the size and format of the data set. Photographs take longer to decode.
"""

import os.path as osp
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from statistics import median

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.registry import TRANSFORMS, init_default_scope
from mmengine.utils import get_installed_path
from PIL import Image

from mmseg_bpkd.datasets.synthetic import render_scene

from .measuring import milliseconds_in_turn, ratio

FORMAT = (
    '{case}: {images_per_second:.0f} images a second and worker, {rival_images_per_second:.0f} with '
    "MMSegmentation's: {ratio:.2f} times its time ({ratio_least:.2f} to {ratio_most:.2f}); ms per image: {parts}"
)
OURS = osp.join(osp.dirname(osp.abspath(__file__)), '../configs/_base_/datasets')
CASES = {  # our file, MMSegmentation's, (width, height), format
    'Cityscapes 512x1024': ('cityscapes_512x1024.py', 'cityscapes.py', (2048, 1024), 'png'),
    'ADE20K 512x512': ('ade20k_512x512.py', 'ade20k.py', (683, 512), 'jpg'),
}
IMAGES = 4


class Pipeline:
    """Each call loads all images once, with a new augmentation."""

    def __init__(self, path: str, samples: list[dict]) -> None:
        configs = Config.fromfile(path).train_pipeline
        self.transforms: list[BaseTransform] = [
            TRANSFORMS.build(cfg) for cfg in configs if cfg.type != 'SeedAugmentation'
        ]
        self.samples = samples
        self.times = 0
        self.milliseconds: dict[str, list[float]] = defaultdict(list)
        self.made: list[dict] = []

    def __call__(self) -> None:
        self.made.clear()
        for seed, sample in enumerate(self.samples, IMAGES * self.times):
            random.seed(seed)
            np.random.seed(seed)
            results = dict(sample, seg_fields=[])
            for transform in self.transforms:
                began = time.perf_counter()
                results = transform(results)
                self.milliseconds[type(transform).__name__].append(1000 * (time.perf_counter() - began))
            self.made.append(results)
        self.times += 1


def draw(folder: str, size: tuple, extension: str) -> list[dict]:
    samples = []
    for i in range(IMAGES):
        image, label = render_scene('train', i, size)
        paths = dict(img_path=osp.join(folder, f'{i}.{extension}'), seg_map_path=osp.join(folder, f'{i}_label.png'))
        Image.fromarray(image[..., ::-1]).save(paths['img_path'], quality=95)
        Image.fromarray(label).save(paths['seg_map_path'])
        samples.append(dict(paths, reduce_zero_label=extension == 'jpg'))
    return samples


def compare(runs: int) -> Iterator[dict]:
    init_default_scope('mmseg')
    cv2.setNumThreads(0)  # as in a worker
    torch.set_num_threads(1)
    stock = osp.join(get_installed_path('mmseg'), '.mim/configs/_base_/datasets')
    for case, (our_file, their_file, size, extension) in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            samples = draw(folder, size, extension)
            pipelines = dict(
                ours=Pipeline(osp.join(OURS, our_file), samples), theirs=Pipeline(osp.join(stock, their_file), samples)
            )
            times = milliseconds_in_turn(pipelines, runs)
        for ours, theirs in zip(*(pipeline.made for pipeline in pipelines.values())):
            assert torch.equal(ours['inputs'], theirs['inputs'])
            assert torch.equal(*(made['data_samples'].gt_sem_seg.data for made in (ours, theirs)))
        speed = {name: 1000 * IMAGES / median(milliseconds) for name, milliseconds in times.items()}
        yield dict(
            ratio(times['ours'], times['theirs']),
            case=case,
            images_per_second=speed['ours'],
            rival_images_per_second=speed['theirs'],
            parts={name: round(median(ms), 1) for name, ms in pipelines['ours'].milliseconds.items()},
        )
