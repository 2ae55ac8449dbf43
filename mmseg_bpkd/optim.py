"""Learning rates for the parts of a distiller that learn at a rate of their own."""

from typing import Dict, List

from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.optim.scheduler import PolyLR
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, PARAM_SCHEDULERS
from torch import nn

from .losses.base import contract_of


def options_of_parts(model: nn.Module) -> Dict[str, dict]:
    """{prefix of a parameter's name: options}, of all losses of a model's distiller that have `optim_options`."""
    losses = getattr(getattr(model, 'distiller', None), 'distill_losses', {})
    return {
        f'distiller.distill_losses.{name}.{part}.': options
        for name, loss in losses.items()
        for part, options in contract_of(loss).optim_options.items()
    }


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class DistillOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """MMEngine's own, with what the model's losses ask for their parts among the custom keys of its `paramwise_cfg`.

    So a method brings the learning rates of its parts along, whatever schedule it is used with. A loss asks by
    `optim_options = {part: options}`: MMEngine's `lr_mult`, `decay_mult`, or `lr`, a rate that is not a multiple of the
    student's.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        distillation = getattr(model, 'module', model)
        keys = {prefix: self._as_multiple(options) for prefix, options in options_of_parts(distillation).items()}
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
    """MMEngine's PolyLR, which would raise a parameter group that starts below eta_min: here it keeps its rate."""

    def _get_value(self) -> List[float]:
        values = zip(super()._get_value(), self.optimizer.param_groups)
        return [
            group[self.param_name] if group[f'initial_{self.param_name}'] <= self.eta_min else value
            for value, group in values
        ]
