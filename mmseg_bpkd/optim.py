"""Learning rates of the layers that losses train."""

from typing import Dict, List

from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.optim.scheduler import PolyLR
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, PARAM_SCHEDULERS
from torch import nn

from .losses.base import contract_of


def layer_options(model: nn.Module) -> Dict[str, dict]:
    """The `optim_options` of all losses of a model's distiller: {prefix of the parameter names: options}."""
    losses = getattr(getattr(model, 'distiller', None), 'distill_losses', {})
    return {
        f'distiller.distill_losses.{name}.{layer}.': options
        for name, loss in losses.items()
        for layer, options in contract_of(loss).optim_options.items()
    }


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class DistillOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """MMEngine's constructor; adds the `optim_options` of the model's losses to the custom keys of `paramwise_cfg`.

    An `lr` is converted to a multiple of the base learning rate, so that its initial value is the same for every base
    rate. See `DistillLoss` for the options.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        distillation = getattr(model, 'module', model)
        keys = {prefix: self._as_multiple(options) for prefix, options in layer_options(distillation).items()}
        if keys:
            distillation.distiller.optim_options_read = True
            self.paramwise_cfg = dict(
                self.paramwise_cfg, custom_keys={**self.paramwise_cfg.get('custom_keys', {}), **keys}
            )
        return super().__call__(model)

    def _as_multiple(self, options: dict) -> dict:
        if 'lr' not in options:
            return options
        return dict({key: value for key, value in options.items() if key != 'lr'}, lr_mult=options['lr'] / self.base_lr)


@PARAM_SCHEDULERS.register_module()
class FallingPolyLR(PolyLR):
    """PolyLR that keeps the learning rate of a parameter group which starts at or below eta_min.

    MMEngine's PolyLR raises such a group to eta_min.
    """

    def _get_value(self) -> List[float]:
        values = zip(super()._get_value(), self.optimizer.param_groups)
        return [
            group[self.param_name] if group[f'initial_{self.param_name}'] <= self.eta_min else value
            for value, group in values
        ]
