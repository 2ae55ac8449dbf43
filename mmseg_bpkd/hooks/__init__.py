from .atomic_checkpoint import AtomicCheckpointHook
from .exact_resume import ExactResumeHook

__all__ = ['AtomicCheckpointHook', 'ExactResumeHook']
