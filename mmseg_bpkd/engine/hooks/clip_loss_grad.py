"""Gradient clipping and learning rates for the trained layers of losses."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from mmseg_bpkd.models.distillers import SegDistiller
from mmseg_bpkd.models.losses.base import contract_of

from ..optim import layer_options


@HOOKS.register_module()
class ClipLossGradHook(Hook):
    """Clips the gradient of each loss that has a `max_grad_norm`, before every step of the optimizer.

    Raises:
        ValueError: before training, if a loss has `optim_options` that the optimizer was built without.
    """

    def before_train(self, runner: Runner) -> None:
        model = getattr(runner.model, 'module', runner.model)
        options = layer_options(model)
        if options and not getattr(model.distiller, 'optim_options_read', False):
            raise ValueError(
                f'the layers {sorted(options)} have optim_options, but the optimizer was built without them: set '
                'optim_wrapper.constructor to DistillOptimWrapperConstructor'
            )
        losses = model.distiller.distill_losses if hasattr(model, 'distiller') else {}
        limits = {name: contract_of(loss).max_grad_norm for name, loss in losses.items()}
        self.clipped = [(limit, trained_by(model.distiller, name)) for name, limit in limits.items() if limit]
        if self.clipped:
            runner.optim_wrapper.optimizer.register_step_pre_hook(self._clip)

    def _clip(self, optimizer: Optimizer, *_) -> None:
        # With mixed precision, gradients are unscaled before this hook runs. A fused optimizer is the exception: it
        # unscales them itself by `grad_scale`, so the limit must be scaled instead.
        scale = getattr(optimizer, 'grad_scale', None)
        for limit, parameters in self.clipped:
            clip_grad_norm_(parameters, limit * (1 if scale is None else float(scale)))


def trained_by(distiller: SegDistiller, loss_name: str) -> list[nn.Parameter]:
    """The parameters of a loss and of its connectors, such as the layers of `align`."""
    mappings = distiller.loss_forward_mappings[loss_name].values()
    connectors = sorted({mapping['connector'] for mapping in mappings if mapping.get('connector')})
    modules = [distiller.distill_losses[loss_name], *(distiller.connectors[name] for name in connectors)]
    return [parameter for module in modules for parameter in module.parameters()]
