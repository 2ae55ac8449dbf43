"""A hook that ends the distillation before the training ends."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner


@HOOKS.register_module()
class StopDistillationHook(Hook):
    """Trains the student of a `SegDistill` without its teacher after a number of iterations, also in a resumed run.

    MMRazor's `StopDistillHook` counts epochs, and has no effect in a training by iterations.

    Args:
        stop_iter: number of iterations with distillation.
    """

    def __init__(self, stop_iter: int) -> None:
        self.stop_iter = stop_iter

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        if runner.iter >= self.stop_iter:
            getattr(runner.model, 'module', runner.model).distillation_stopped = True
