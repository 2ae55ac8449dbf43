"""IoU that keeps the values of each class and the counts of each image."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from mmengine.registry import METRICS
from mmseg.evaluation import IoUMetric
from torch import Tensor


@METRICS.register_module()
class SegIoU(IoUMetric):
    """MMSegmentation's `IoUMetric`, which also keeps what the means are computed from.

    Arguments and results are the same, but an unknown argument is an error. A metric of a part of the pixels overrides
    `process`, and `bands` if it counts several parts.

    Attributes:
        per_class: {name: one percentage per class, nan for a class that does not occur}. A name is 'IoU', or
            'trimap/IoU@3px' with a prefix and a band.
        per_image: {name of the mean IoU: (images, 3, classes) int32}: pixels in the intersection, in the prediction and
            in the label, in the order of the dataset.

    Both are empty until the metric is evaluated, and in all processes but the first.
    """

    def __init__(
        self,
        ignore_index: int = 255,
        iou_metrics: Sequence[str] = ('mIoU',),
        nan_to_num: int | None = None,
        beta: int = 1,
        collect_device: str = 'cpu',
        output_dir: str | None = None,
        format_only: bool = False,
        prefix: str | None = None,
    ) -> None:
        super().__init__(
            ignore_index, iou_metrics, nan_to_num, beta, collect_device, output_dir, format_only, prefix=prefix
        )
        self.per_class: dict[str, list[float]] = {}
        self.per_image: dict[str, np.ndarray] = {}

    def bands(self, results: list) -> Iterator[tuple[str, Sequence]]:
        """Yields the parts of the pixels that are evaluated.

        Args:
            results: what `process` appended for each image.

        Yields:
            The suffix of the names, and for each image the areas of intersection, union, prediction and label, each
            (classes,).
        """
        yield '', results

    def compute_metrics(self, results: list) -> dict[str, float]:
        if self.format_only:
            return super().compute_metrics(results)
        metrics, self.per_class, self.per_image = {}, {}, {}
        prefix = f'{self.prefix}/' if self.prefix else ''
        for band, areas in self.bands(results):
            metrics.update({name + band: value for name, value in super().compute_metrics(areas).items()})
            totals = [sum(area) for area in zip(*areas)]
            class_metrics = self.total_area_to_metrics(*totals, self.metrics, self.nan_to_num, self.beta)
            del class_metrics['aAcc']
            self.per_class.update({f'{prefix}{name}{band}': (100 * x).tolist() for name, x in class_metrics.items()})
            self.per_image[f'{prefix}mIoU{band}'] = _counts(areas)
        return metrics


def _counts(areas: Sequence[Sequence[Tensor]]) -> np.ndarray:
    """Areas of each image to (images, 3, classes). The union is left out, because it follows."""
    counts = [torch.stack([intersection, pred, label]) for intersection, _, pred, label in areas]
    return torch.stack(counts).round().to(torch.int32).numpy()
