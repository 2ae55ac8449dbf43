from .adaptive_loss_weight import AdaptiveLossWeightHook
from .atomic_checkpoint import AtomicCheckpointHook
from .clip_loss_grad import ClipLossGradHook
from .draw_predictions import DrawPredictionsHook
from .exact_resume import ExactResumeHook
from .progress import ProgressHook
from .save_on_signal import SaveOnSignalHook
from .stop_distillation import StopDistillationHook
from .stop_on_nan import StopOnNaNHook

__all__ = [
    'AdaptiveLossWeightHook',
    'AtomicCheckpointHook',
    'ClipLossGradHook',
    'DrawPredictionsHook',
    'ExactResumeHook',
    'ProgressHook',
    'SaveOnSignalHook',
    'StopDistillationHook',
    'StopOnNaNHook',
]
