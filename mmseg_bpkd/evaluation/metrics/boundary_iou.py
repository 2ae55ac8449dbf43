"""Boundary IoU (Cheng et al., CVPR 2021, arXiv 2103.16562) for semantic segmentation."""

import math
from collections.abc import Iterator, Sequence

import torch
from mmengine.logging import MMLogger
from mmengine.registry import METRICS
from torch import Tensor

from mmseg_bpkd.ops.boundary import boundary_band

from .seg_iou import SegIoU, pred_and_label
from .trimap_iou import areas


@METRICS.register_module()
class BoundaryIoU(SegIoU):
    """Boundary IoU (Cheng et al., CVPR 2021, arXiv 2103.16562): IoU of the inner boundary bands of each class.

    The inner band of a mask is the part that d erosions with a 3x3 square remove, where
    d = max(1, round(ratio * image diagonal)). For each class, the inner band of the predicted mask is compared with
    the inner band of the ground-truth mask. As in the authors' code, the image frame is part of the contour. Void
    pixels are removed from both masks and create no contour. Areas are summed over the dataset, as in `IoUMetric`.

    Results are in percent and named after the band: `boundary/mIoU@0.005diag`, and likewise mAcc and aAcc.

    Args:
        ratio: width of the band as a fraction of the image diagonal.
        ignore_index: the label of void pixels.
        nan_to_num: replaces the value of a class that does not occur. By default, it is nan and not in the mean.
        collect_device, prefix: as in `IoUMetric`.

    Raises:
        ValueError: if `ratio` is not between 0 and 1.

    Example:
        >>> import torch
        >>> from mmengine.logging import MMLogger
        >>> MMLogger.get_current_instance().setLevel('ERROR')  # hide the per-class table
        >>> label = torch.zeros(1, 5, 5, dtype=torch.long)  # one class: its band is the frame of 16 pixels
        >>> pred = label.clone()
        >>> pred[0, 2, 2] = 1  # one error in the center: its 8 neighbors are now in the predicted band, too
        >>> metric = BoundaryIoU()  # d = 1
        >>> metric.dataset_meta = dict(classes=('road', 'car'))
        >>> metric.process({}, [dict(pred_sem_seg=dict(data=pred), gt_sem_seg=dict(data=label))])
        >>> results = metric.evaluate(size=1)
        >>> round(float(results['boundary/mIoU@0.005diag']), 2)  # road 16/24, car 0/1
        33.33
    """

    default_prefix = 'boundary'

    def __init__(
        self,
        ratio: float = 0.005,
        ignore_index: int = 255,
        nan_to_num: int | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(ignore_index, nan_to_num=nan_to_num, collect_device=collect_device, prefix=prefix)
        if not 0 < ratio < 1:
            raise ValueError(f'ratio must be a fraction of the image diagonal between 0 and 1, got {ratio}')
        self.ratio = ratio

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            num_classes = len(self.dataset_meta['classes'])
            pred, label = pred_and_label(sample, num_classes, self.ignore_index)
            pred = pred.masked_fill(label == self.ignore_index, self.ignore_index)
            distance = max(1, round(self.ratio * math.hypot(*label.shape)))
            in_pred, in_label = (self._inner_band(x, distance) for x in (pred, label))
            agree = label[in_pred & in_label & (pred == label)]
            self.results.append(areas(pred[in_pred], label[in_label], num_classes, agree))

    def _inner_band(self, label: Tensor, distance: int) -> Tensor:
        """The inner bands of all classes in one mask: (H, W) to (H, W) bool.

        A pixel can only be in the band of its own class, so one mask is enough for all classes. The pixel is in the
        band if another class or the image border is within `distance` pixels.
        """
        frame = torch.ones_like(label, dtype=torch.bool)
        frame[distance:-distance, distance:-distance] = False
        return (boundary_band(label[None], distance, self.ignore_index)[0] | frame) & (label != self.ignore_index)

    def bands(self, results: list) -> Iterator[tuple[str, Sequence]]:
        MMLogger.get_current_instance().info(f'{self.prefix}: inner band of {self.ratio} of the image diagonal')
        yield f'@{self.ratio}diag', results
