from .seg_distill import SegDistill

__all__ = ['SegDistill']
