"""Testing a plain or distilled segmentor, without its teacher."""

import copy
import math
import os.path as osp
from collections.abc import Sequence

import numpy as np
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.model import is_model_wrapper
from mmengine.registry import DefaultScope

from mmseg_bpkd.fileio.checkpoint import load_strictly, read_checkpoint, segmentor_state
from mmseg_bpkd.fileio.console import ConsoleRunner
from mmseg_bpkd.models.roles import student_config

from .metrics import SegIoU, save_counts
from .onnx import load_onnx
from .tta import use_tta


def evaluate(cfg: Config, checkpoint: str, per_image: str | None = None, tta: bool = False) -> dict[str, dict]:
    """Tests a segmentor on the test set of its config.

    Args:
        cfg: the config of a distillation, whose student is tested, or of a plain segmentor. It is changed in place.
        checkpoint: path or URL of a checkpoint of a distillation, of a plain run, or of an exported student; or path of
            an exported ONNX file.
        per_image: if given, the pixel counts of each image are written to this file, see `save_counts`.
        tta: whether to test with several scales and flips, see `use_tta`.

    Returns:
        {'metrics': {name: percent}, 'per_class': {name: {class: percent, or None if the class does not occur}}}.
        Values of each class and pixel counts are those of the metrics that derive from `SegIoU`.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        ValueError: if the checkpoint cannot be read or does not fit the segmentor, see also `load_onnx`.
    """
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        cfg.model = student_config(cfg.model)
    cfg.load_from, cfg.resume = None, False
    onnx = load_onnx(cfg, checkpoint) if checkpoint.endswith('.onnx') else None
    if tta:
        use_tta(cfg)
    runner = ConsoleRunner.from_cfg(cfg)
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    model = model.module if tta else model
    if onnx:
        model.encode_decode = onnx
    else:  # `load_from` is not used, because the Runner only warns about missing weights
        load_strictly(model, segmentor_state(read_checkpoint(checkpoint), model, checkpoint), checkpoint)

    metrics = runner.test()
    kept = [metric for metric in runner.test_loop.evaluator.metrics if isinstance(metric, SegIoU)]
    dataset = runner.test_dataloader.dataset
    if per_image and is_main_process():
        images = [osp.basename(dataset.get_data_info(i)['img_path']) for i in range(len(dataset))]
        save_counts(per_image, images, {name: counts for metric in kept for name, counts in metric.per_image.items()})
    return dict(
        metrics={name: round(float(value), 4) for name, value in metrics.items()},
        per_class={
            name: _by_class(dataset.metainfo['classes'], values)
            for metric in kept
            for name, values in metric.per_class.items()
        },
    )


def _by_class(classes: Sequence[str], values: Sequence[float]) -> dict[str, float | None]:
    return {cls: None if math.isnan(value) else round(value, 2) for cls, value in zip(classes, values)}


def metrics_only(metrics: dict[str, float]) -> dict[str, float]:
    """Returns the metrics in percent, rounded to four digits, without the times that MMEngine adds."""
    return {name: round(float(value), 4) for name, value in metrics.items() if name not in ('time', 'data_time')}


def compare_with_onnx(
    cfg: Config, checkpoint: str, onnx: str, tolerance: float = 0.01
) -> dict[str, tuple[float, float]]:
    """Tests a checkpoint and its ONNX file on the test set of a config.

    Args:
        cfg: as in `evaluate`; it is not changed.
        checkpoint: the checkpoint that was exported.
        onnx: path of the ONNX file.
        tolerance: largest difference of a metric, in percentage points.

    Returns:
        {name of a metric: (percent of PyTorch, percent of the ONNX file)}

    Raises:
        ValueError: if a metric differs by more than `tolerance`, or is NaN for one of them.
    """
    found = [metrics_only(evaluate(copy.deepcopy(cfg), path)['metrics']) for path in (checkpoint, onnx)]
    pairs = {name: (value, found[1][name]) for name, value in found[0].items()}
    for name, (torch_value, onnx_value) in pairs.items():
        # MMSegmentation rounds metrics to 0.01, and 33.34 - 33.33 > 0.01 in floating point.
        if not np.isclose(torch_value, onnx_value, rtol=0, atol=tolerance + 1e-6, equal_nan=True):
            raise ValueError(
                f'{name} is {torch_value} in PyTorch but {onnx_value} with {onnx}: they may differ by {tolerance}'
            )
    return pairs
