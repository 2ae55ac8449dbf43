"""IoU in a band around the boundaries of the ground truth."""

from collections.abc import Iterator, Sequence

import torch
from mmengine.logging import MMLogger
from mmengine.registry import METRICS
from torch import Tensor

from mmseg_bpkd.ops.boundary import boundary_band

from .seg_iou import SegIoU, pred_and_label


@METRICS.register_module()
class TrimapIoU(SegIoU):
    """IoU and accuracy of the pixels near a boundary between two classes of the ground truth.

    The band contains each valid pixel that has a different valid class in the square window of `half_width` pixels
    around it. Void pixels are never in the band and create no boundary. Areas are counted at the native resolution of
    the label and summed over the dataset, as in `IoUMetric`.

    Results are in percent and named after the band: `trimap/mIoU@3px`, `trimap/mAcc@3px` and `trimap/aAcc@3px`. The
    BPKD paper (arXiv 2306.08075) does not state its band; 3 pixels match kernel_size=7.

    Args:
        half_width: half the width of the band in pixels. A list evaluates several bands in one pass.
        ignore_index: the label of void pixels.
        nan_to_num: replaces the value of a class that does not occur. By default, it is nan and not in the mean.
        collect_device, prefix: as in `IoUMetric`.

    Raises:
        ValueError: if `half_width` is less than 1 or an empty list.

    Example:
        >>> import torch
        >>> from mmengine.logging import MMLogger
        >>> MMLogger.get_current_instance().setLevel('ERROR')  # hide the per-class table
        >>> label = torch.tensor([[[0, 0, 0, 1, 1, 1]]])  # an image of 1x6 pixels
        >>> pred = torch.tensor([[[1, 0, 0, 0, 1, 1]]])  # two errors: at the frame and at the boundary
        >>> metric = TrimapIoU(half_width=2)  # the band: the four pixels in the middle
        >>> metric.dataset_meta = dict(classes=('road', 'car'))
        >>> metric.process({}, [dict(pred_sem_seg=dict(data=pred), gt_sem_seg=dict(data=label))])
        >>> results = metric.evaluate(size=1)
        >>> round(float(results['trimap/mIoU@2px']), 2)  # road 2/3, car 1/2
        58.33
    """

    default_prefix = 'trimap'

    def __init__(
        self,
        half_width: int | Sequence[int] = 3,
        ignore_index: int = 255,
        nan_to_num: int | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(ignore_index, nan_to_num=nan_to_num, collect_device=collect_device, prefix=prefix)
        self.half_widths = [half_width] if isinstance(half_width, int) else list(half_width)
        if not self.half_widths or min(self.half_widths) < 1:
            raise ValueError(f'half_width must be at least 1 pixel, got {half_width}')

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            num_classes = len(self.dataset_meta['classes'])
            pred, label = pred_and_label(sample, num_classes, self.ignore_index)
            bands = [boundary_band(label[None], width, self.ignore_index)[0] for width in self.half_widths]
            self.results.append([areas(pred[band], label[band], num_classes) for band in bands])

    def bands(self, results: list) -> Iterator[tuple[str, Sequence]]:
        for width, areas_of_width in zip(self.half_widths, zip(*results)):
            MMLogger.get_current_instance().info(f'{self.prefix}: band of {width} px on either side of each boundary')
            yield f'@{width}px', areas_of_width


def areas(pred: Tensor, label: Tensor, num_classes: int, agree: Tensor | None = None) -> tuple[Tensor, ...]:
    """Pixel counts per class, in the form that `IoUMetric` sums over the dataset.

    Args:
        pred, label: the class of each counted pixel, (K,). The lengths may differ if `agree` is given.
        agree: the class of each pixel in the intersection, (L,). By default, the pixels where `pred == label`.

    Returns:
        Intersection, union, prediction and label, each (num_classes,) on the CPU.
    """
    if agree is None:
        agree = label[pred == label]
    intersection, predicted, labeled = (torch.bincount(x, minlength=num_classes).cpu() for x in (agree, pred, label))
    return intersection, predicted + labeled - intersection, predicted, labeled
