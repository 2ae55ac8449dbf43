"""Boundary IoU (Cheng et al., CVPR 2021, arXiv 2103.16562) of semantic segmentation."""

import math
from typing import Dict, Optional, Sequence

import torch
from mmengine.logging import MMLogger
from mmengine.registry import METRICS
from mmseg.evaluation import IoUMetric
from torch import Tensor

from ..boundary import boundary_band
from .trimap_iou import areas


@METRICS.register_module()
class BoundaryIoU(IoUMetric):
    """IoU of the inner boundary bands of each class's mask in prediction and ground truth.

    A mask loses what survives d erosions with a 3x3 square, d = max(1, round(ratio * image diagonal)); the image frame
    is contour, as in the published code. Void pixels are dropped from both masks and make no contour. The masks of a
    label map are disjoint, so a pixel is in the band of its own class exactly if another class or the frame lies
    within d: one pass serves all classes. Results are named after their band: `boundary/mIoU@0.005diag`.

    Args:
        ratio: d as a share of the image diagonal.
    """

    default_prefix = 'boundary'

    def __init__(
        self,
        ratio: float = 0.005,
        ignore_index: int = 255,
        nan_to_num: Optional[int] = None,
        collect_device: str = 'cpu',
        prefix: Optional[str] = None,
    ) -> None:
        super().__init__(ignore_index, nan_to_num=nan_to_num, collect_device=collect_device, prefix=prefix)
        if not 0 < ratio < 1:
            raise ValueError(f'ratio is a share of the image diagonal, between 0 and 1, got {ratio}')
        self.ratio = ratio

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            pred = sample['pred_sem_seg']['data'].squeeze(0)
            label = sample['gt_sem_seg']['data'].squeeze(0).to(pred)
            pred = pred.masked_fill(label == self.ignore_index, self.ignore_index)
            distance = max(1, round(self.ratio * math.hypot(*label.shape)))
            in_pred, in_label = (self._inner_band(x, distance) for x in (pred, label))
            agree = label[in_pred & in_label & (pred == label)]
            num_classes = len(self.dataset_meta['classes'])
            self.results.append(areas(pred[in_pred], label[in_label], num_classes, agree))

    def _inner_band(self, label: Tensor, distance: int) -> Tensor:
        frame = torch.ones_like(label, dtype=torch.bool)
        frame[distance:-distance, distance:-distance] = False
        return (boundary_band(label[None], distance, self.ignore_index)[0] | frame) & (label != self.ignore_index)

    def compute_metrics(self, results: list) -> Dict[str, float]:
        MMLogger.get_current_instance().info(f'{self.prefix}: inner band of {self.ratio} of the image diagonal')
        self.band = f'@{self.ratio}diag'
        return {name + self.band: value for name, value in super().compute_metrics(results).items()}
