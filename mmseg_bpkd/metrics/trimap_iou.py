"""IoU in the band around the boundaries of the ground truth."""

from collections import OrderedDict
from typing import Dict, List, Optional, Sequence, Union

import torch
from mmengine.logging import MMLogger
from mmengine.registry import METRICS
from mmseg.evaluation import IoUMetric
from torch import Tensor

from ..boundary import boundary_band


@METRICS.register_module()
class TrimapIoU(IoUMetric):
    """mIoU and mAcc over the valid pixels that have another valid class within `half_width` (square window).

    Measured at the native resolution of the label and accumulated over the data set, as `IoUMetric` does. Results are
    named after their band: `trimap/mIoU@3px`. The BPKD paper (arXiv 2306.08075) does not state its band; 3 pixels
    match its edge width of 7.

    Args:
        half_width: pixels; a list gives the whole curve from one pass.
    """

    default_prefix = 'trimap'

    def __init__(
        self,
        half_width: Union[int, Sequence[int]] = 3,
        ignore_index: int = 255,
        nan_to_num: Optional[int] = None,
        collect_device: str = 'cpu',
        prefix: Optional[str] = None,
    ) -> None:
        super().__init__(ignore_index, nan_to_num=nan_to_num, collect_device=collect_device, prefix=prefix)
        self.half_widths = [half_width] if isinstance(half_width, int) else list(half_width)
        if not self.half_widths or min(self.half_widths) < 1:
            raise ValueError(f'half_width must be at least 1 pixel, got {half_width}')

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            pred = sample['pred_sem_seg']['data'].squeeze(0)
            label = sample['gt_sem_seg']['data'].squeeze(0).to(pred)
            bands = [boundary_band(label[None], width, self.ignore_index)[0] for width in self.half_widths]
            num_classes = len(self.dataset_meta['classes'])
            self.results.append([areas(pred[band], label[band], num_classes) for band in bands])

    def compute_metrics(self, results: list) -> Dict[str, float]:
        metrics = OrderedDict()
        for width, of_width in zip(self.half_widths, zip(*results)):
            MMLogger.get_current_instance().info(f'{self.prefix}: boundary band of {width} px on either side')
            self.band = f'@{width}px'
            metrics.update({name + self.band: value for name, value in super().compute_metrics(of_width).items()})
        return metrics


def areas(pred: Tensor, label: Tensor, num_classes: int, agree: Optional[Tensor] = None) -> List[Tensor]:
    """Pixels of each class in the intersection, the union, the prediction and the label: what `IoUMetric` sums.

    Args:
        pred, label: classes of the pixels to count, one-dimensional; of equal length unless `agree` is given.
        agree: the classes of the pixels in the intersection, where this is not [pred == label].
    """
    if agree is None:
        agree = label[pred == label]
    intersection, predicted, labelled = (torch.bincount(x, minlength=num_classes).cpu() for x in (agree, pred, label))
    return intersection, predicted + labelled - intersection, predicted, labelled
