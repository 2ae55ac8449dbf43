from .boundary_iou import BoundaryIoU
from .counts import load_counts, save_counts
from .seg_iou import SegIoU
from .trimap_iou import TrimapIoU

__all__ = ['BoundaryIoU', 'SegIoU', 'TrimapIoU', 'load_counts', 'save_counts']
