from .boundary_iou import BoundaryIoU
from .per_class import keep_per_class
from .trimap_iou import TrimapIoU

__all__ = ['BoundaryIoU', 'TrimapIoU', 'keep_per_class']
