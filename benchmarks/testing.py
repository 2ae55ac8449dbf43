"""Testing with all three metrics against testing with `IoUMetric` alone, without start-up time.

Uses CamVid's validation set, if data/camvid exists, and drawn scenes of 2048x1024.
"""

import os
import os.path as osp
import tempfile
from collections.abc import Iterator
from functools import partial
from statistics import median

import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from PIL import Image

from mmseg_bpkd.datasets.synthetic import CLASSES, render_scene
from mmseg_bpkd.models.roles import student_config
from mmseg_bpkd.models.segmentors import build_segmentor

from .measuring import milliseconds, milliseconds_in_turn, ratio

FORMAT = (
    '{case}: {ms:.0f} ms, {ratio:.3f} times ({ratio_least:.3f} to {ratio_most:.3f}); metrics of an image '
    '{metrics_ms:.1f} ms, `IoUMetric` alone {iou_ms:.1f} ms'
)
ROOT = osp.join(osp.dirname(osp.abspath(__file__)), '..')
SIZE, IMAGES = (2048, 1024), 4  # (width, height)


def compare(runs: int) -> Iterator[dict]:
    with tempfile.TemporaryDirectory() as folder:
        for case, (cfg, checkpoint) in cases(folder).items():
            calls, metric_times = {}, {}
            for name, metrics in (('all', cfg.test_evaluator), ('IoUMetric', [dict(type='IoUMetric')])):
                chosen = cfg.copy()
                chosen.update(test_evaluator=metrics, work_dir=osp.join(folder, 'run'), load_from=checkpoint)
                runner = Runner.from_cfg(chosen)
                runner.test()  # builds the loop, and loads the weights
                calls[name], metric_times[name] = runner.test_loop.run, timed(runner.test_loop.evaluator)
            times = milliseconds_in_turn(calls, runs)
            yield dict(
                ratio(times['all'], times['IoUMetric']),
                case=case,
                metrics_ms=median(metric_times['all']),
                iou_ms=median(metric_times['IoUMetric']),
            )


def timed(evaluator: Evaluator) -> list[float]:
    """Makes the evaluator record the time of its metrics. Returns the list of milliseconds, one value per image."""
    spent, process = [], evaluator.process
    evaluator.process = lambda *args, **kwargs: spent.append(milliseconds(partial(process, *args, **kwargs)))
    return spent


def cases(folder: str) -> dict[str, tuple[Config, str]]:
    found = {}
    camvid = Config.fromfile(osp.join(ROOT, 'configs/deeplabv3plus/deeplabv3plus_r18w32_1xb6-6k_camvid-240x320.py'))
    if osp.isdir(camvid.test_dataloader.dataset.data_root):
        found['CamVid, 101 images of 480x360, DeepLabV3+-R18 of width 32'] = (
            camvid,
            osp.join(ROOT, 'checkpoints/deeplabv3plus_r18w32_camvid.pth'),
        )
    large = drawn(folder)
    checkpoint = osp.join(folder, 'random.pth')
    init_default_scope('mmseg')
    torch.save(build_segmentor(student_config(large.model)).state_dict(), checkpoint)
    found[f'{IMAGES} scenes of {SIZE[0]}x{SIZE[1]}, PSPNet-R18'] = (large, checkpoint)
    for cfg, _ in found.values():
        cfg.model = student_config(cfg.model)
        cfg.log_level = 'ERROR'
        cfg.test_dataloader.update(num_workers=0, persistent_workers=False)
    return found


def drawn(folder: str) -> Config:
    """The Cityscapes student on scenes with its size and layout; random weights."""
    cfg = Config.fromfile(osp.join(ROOT, 'configs/pspnet/pspnet_r18_4xb4-80k_cityscapes-512x1024.py'))
    dataset = cfg.test_dataloader.dataset
    dataset.update(data_root=folder, data_prefix=dict(img_path='images', seg_map_path='labels'))
    for kind in ('images', 'labels'):
        os.makedirs(osp.join(folder, kind))
    for i in range(IMAGES):
        image, label = render_scene('val', i, SIZE)
        assert label.max() < len(CLASSES) <= cfg.num_classes
        Image.fromarray(image[..., ::-1]).save(osp.join(folder, f'images/{i}_leftImg8bit.png'))
        Image.fromarray(label).save(osp.join(folder, f'labels/{i}_gtFine_labelTrainIds.png'))
    return cfg
