"""Metrics, and testing a checkpoint."""

from .metrics import BoundaryIoU, TrimapIoU

__all__ = ['BoundaryIoU', 'TrimapIoU']
