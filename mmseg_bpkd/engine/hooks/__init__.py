from .adaptive_loss_weight import AdaptiveLossWeightHook
from .atomic_checkpoint import AtomicCheckpointHook
from .draw_predictions import DrawPredictionsHook
from .exact_resume import ExactResumeHook
from .loss_parts import LossPartsHook
from .save_on_signal import SaveOnSignalHook
from .stop_distillation import StopDistillationHook
from .stop_on_nan import StopOnNaNHook

__all__ = [
    'AdaptiveLossWeightHook',
    'AtomicCheckpointHook',
    'DrawPredictionsHook',
    'ExactResumeHook',
    'LossPartsHook',
    'SaveOnSignalHook',
    'StopDistillationHook',
    'StopOnNaNHook',
]
