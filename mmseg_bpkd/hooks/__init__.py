from .atomic_checkpoint import AtomicCheckpointHook
from .draw_predictions import DrawPredictionsHook
from .exact_resume import ExactResumeHook
from .loss_parts import LossPartsHook

__all__ = ['AtomicCheckpointHook', 'DrawPredictionsHook', 'ExactResumeHook', 'LossPartsHook']
