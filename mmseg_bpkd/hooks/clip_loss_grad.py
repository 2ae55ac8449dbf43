"""Gradient clipping for the trained parts of a loss alone."""
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch.nn.utils import clip_grad_norm_


@HOOKS.register_module()
class ClipLossGradHook(Hook):
    """Before every step of the optimiser, clips the gradient of each loss with a `max_grad_norm` to that norm.

    The optimiser itself calls, so that mixed precision has unscaled the gradients by then.
    """

    def before_train(self, runner: Runner) -> None:
        model = getattr(runner.model, 'module', runner.model)
        distiller = getattr(model, 'distiller', None)
        self.losses = [loss for loss in distiller.distill_losses.values()
                       if getattr(loss, 'max_grad_norm', None)] if distiller else []
        if self.losses:
            runner.optim_wrapper.optimizer.register_step_pre_hook(self._clip)

    def _clip(self, *_) -> None:
        for loss in self.losses:
            clip_grad_norm_(loss.parameters(), loss.max_grad_norm)
