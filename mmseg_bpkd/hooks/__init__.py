from .atomic_checkpoint import AtomicCheckpointHook
from .clip_loss_grad import ClipLossGradHook
from .draw_predictions import DrawPredictionsHook
from .exact_resume import ExactResumeHook

__all__ = ['AtomicCheckpointHook', 'ClipLossGradHook', 'DrawPredictionsHook', 'ExactResumeHook']
