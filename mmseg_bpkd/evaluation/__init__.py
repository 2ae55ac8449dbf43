"""Metrics, and testing a checkpoint."""

from .metrics import BoundaryIoU, SegIoU, TrimapIoU

__all__ = ['BoundaryIoU', 'SegIoU', 'TrimapIoU']
