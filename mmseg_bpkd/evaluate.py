"""Testing a plain or distilled segmentor, without its teacher."""

import math
from typing import Dict

from mmengine.config import Config
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmseg.evaluation import IoUMetric

from .checkpoint import load_strictly, read_checkpoint, segmentor_state
from .metrics import keep_per_class
from .segmentors import student_config


def evaluate(cfg: Config, checkpoint: str) -> Dict[str, dict]:
    """Tests the segmentor that `cfg` describes, with the weights of `checkpoint`, on its test set.

    Returns:
        {'metrics': {name: percent}, 'per_class': {name: {class: percent, or None where the class does not occur}}}
    """
    cfg.model = student_config(cfg.model)
    cfg.load_from, cfg.resume = None, False
    runner = Runner.from_cfg(cfg)
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    load_strictly(model, segmentor_state(read_checkpoint(checkpoint)), checkpoint)  # the Runner would only warn

    runner._test_loop = runner.build_test_loop(runner._test_loop)
    kept = [keep_per_class(m) for m in runner.test_loop.evaluator.metrics if isinstance(m, IoUMetric)]
    metrics = runner.test()
    classes = runner.test_dataloader.dataset.metainfo['classes']
    per_class = {
        name: {cls: None if math.isnan(value) else round(value, 2) for cls, value in zip(classes, values)}
        for of_metric in kept
        for name, values in of_metric.items()
    }
    return dict(metrics={name: round(float(value), 4) for name, value in metrics.items()}, per_class=per_class)
