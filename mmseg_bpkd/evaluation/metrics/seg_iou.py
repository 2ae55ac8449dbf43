"""IoU that keeps the values of each class and the counts of each image."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from mmengine.logging import MMLogger
from mmengine.registry import METRICS
from mmseg.evaluation import IoUMetric
from torch import Tensor

from mmseg_bpkd.datasets.labels import DataError, format_values


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

    default_prefix = ''  # None is a warning of MMEngine

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
        self._warned = False
        self.per_class: dict[str, list[float]] = {}
        self.per_image: dict[str, np.ndarray] = {}

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        if not self.format_only:
            for sample in data_samples:
                pred_and_label(sample, len(self.dataset_meta['classes']), self.ignore_index)
        super().process(data_batch, data_samples)

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
            if not band:
                self._warn_of_absent_classes(totals[3], len(areas))
            class_metrics = self.total_area_to_metrics(*totals, self.metrics, self.nan_to_num, self.beta)
            del class_metrics['aAcc']
            self.per_class.update({f'{prefix}{name}{band}': (100 * x).tolist() for name, x in class_metrics.items()})
            self.per_image[f'{prefix}mIoU{band}'] = _counts(areas)
        return metrics

    def _warn_of_absent_classes(self, labeled: Tensor, images: int) -> None:
        absent = [name for name, area in zip(self.dataset_meta['classes'], labeled.tolist()) if not area]
        if absent and not self._warned:
            self._warned = True
            MMLogger.get_current_instance().warning(
                f'{len(absent)} of {len(labeled)} classes occur in none of the {images} labels: '
                f'{", ".join(absent[:5])}{", ..." if len(absent) > 5 else ""}. Their IoU is 0 if they are predicted, '
                'else not in the mean. If they should occur, bpkd check CONFIG names likely causes'
            )


def pred_and_label(sample: dict, num_classes: int, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Returns prediction and label of an image, each (H, W) long on the device of the prediction.

    Raises:
        DataError: if the image has no label, or the label a value that is neither a class nor void.
    """
    image = sample.get('img_path', 'an image')
    if 'gt_sem_seg' not in sample:
        raise DataError(
            f'{image} has no label, which metrics need: load labels in the pipeline of the data set, with '
            "dict(type='LoadCheckedAnnotations', num_classes=...), or use bpkd predict, which needs none"
        )
    pred = sample['pred_sem_seg']['data'].squeeze(0).long()  # float, from a head with one channel
    label = sample['gt_sem_seg']['data'].squeeze(0).to(pred)
    wrong = label[((label < 0) | (label >= num_classes)) & (label != ignore_index)]
    if wrong.numel():
        raise DataError(
            f'the label of {image} has the values {format_values(wrong.unique().tolist())}, expected classes 0 to '
            f'{num_classes - 1}, or {ignore_index} for void: bpkd check CONFIG names likely causes'
        )
    return pred, label


def _counts(areas: Sequence[Sequence[Tensor]]) -> np.ndarray:
    """Areas of each image to (images, 3, classes). The union is left out, because it follows."""
    counts = [torch.stack([intersection, pred, label]) for intersection, _, pred, label in areas]
    return torch.stack(counts).round().to(torch.int32).numpy()
