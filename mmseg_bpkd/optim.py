"""Learning rates for the parts of a distiller that learn at a rate of their own."""
import copy
from typing import List

from mmengine.config import Config
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.optim.scheduler import PolyLR
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, PARAM_SCHEDULERS
from torch import nn


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class DistillOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """MMEngine's own, with the `paramwise_cfg` of the model's distiller merged over that of the optimiser's config.

    So a method brings the learning rates of its parts along, whatever schedule it is used with. Beside MMEngine's
    `lr_mult`, a custom key of the distiller may have `lr`, a rate that does not follow the student's.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        distiller = getattr(getattr(model, 'module', model), 'distiller', None)
        wanted = copy.deepcopy(getattr(distiller, 'paramwise_cfg', {}))
        if wanted:
            for options in wanted.get('custom_keys', {}).values():
                if 'lr' in options:
                    options['lr_mult'] = options.pop('lr') / self.base_lr
            cfg = Config(dict(paramwise_cfg=copy.deepcopy(self.paramwise_cfg)))
            cfg.merge_from_dict(dict(paramwise_cfg=wanted))
            self.paramwise_cfg = cfg.paramwise_cfg.to_dict()
        return super().__call__(model)


@PARAM_SCHEDULERS.register_module()
class FallingPolyLR(PolyLR):
    """MMEngine's PolyLR, which would raise a parameter group that starts below eta_min: here it keeps its rate."""

    def _get_value(self) -> List[float]:
        values = zip(super()._get_value(), self.optimizer.param_groups)
        return [group[self.param_name] if group[f'initial_{self.param_name}'] <= self.eta_min else value
                for value, group in values]
