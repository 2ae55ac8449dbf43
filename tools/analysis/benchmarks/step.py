"""A whole training step of each config, on random images of its crop and batch, beside the first config."""
import os.path as osp
from functools import partial
from typing import Callable, Iterator, List

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from .losses import fill_memories
from .masks import regions
from .measuring import milliseconds_in_turn, peak_growth, ratio

FORMAT = '{config}: {ms:.0f} ms, {ratio:.2f} times ({ratio_least:.2f} to {ratio_most:.2f}); {megabytes:.0f} MB'


def random_batch(cfg: Config) -> dict:
    height, width = cfg.model.data_preprocessor['size']
    inputs, samples = [], []
    for _ in range(cfg.train_dataloader.batch_size):
        inputs.append(torch.randint(0, 256, (3, height, width), dtype=torch.uint8))
        gt = regions(cfg.num_classes, min(11, cfg.num_classes), height, width)[:1]
        samples.append(SegDataSample(gt_sem_seg=PixelData(data=gt), metainfo=dict(
            img_shape=(height, width), ori_shape=(height, width), pad_shape=(height, width))))
    return dict(inputs=inputs, data_samples=samples)


def training_step(path: str, options: dict) -> Callable[[], None]:
    cfg = Config.fromfile(path)
    cfg.merge_from_dict(options)
    MMLogger.get_current_instance().setLevel('WARNING')
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    if hasattr(model, 'teacher_loaded'):
        model.teacher_loaded = True  # its weights do not change the time
    fill_memories(model)
    wrapper = build_optim_wrapper(model.train(), cfg.optim_wrapper)
    batch = random_batch(cfg)
    return lambda: model.train_step(batch, wrapper)


def compare(runs: int, configs: List[str], options: dict) -> Iterator[dict]:
    steps = {path: training_step(path, options) for path in configs}
    times = milliseconds_in_turn(steps, runs)
    for path in configs:
        megabytes = peak_growth(partial(training_step, path, options))
        yield dict(ratio(times[path], times[configs[0]]), config=osp.basename(path)[:-3], megabytes=megabytes)
