from .boundary_iou import BoundaryIoU
from .per_class import keep_per_class
from .per_image import keep_per_image, load_counts, save_counts
from .trimap_iou import TrimapIoU

__all__ = ['BoundaryIoU', 'TrimapIoU', 'keep_per_class', 'keep_per_image', 'load_counts', 'save_counts']
