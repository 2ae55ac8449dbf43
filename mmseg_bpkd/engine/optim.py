"""Learning rates and optimizers of the layers that losses train, and mixed precision on a CPU."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.optim.scheduler import PolyLR
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS, PARAM_SCHEDULERS
from mmseg.engine.optimizers import LearningRateDecayOptimizerConstructor
from torch import nn
from torch.optim import Optimizer

from mmseg_bpkd.models.losses.base import contract_of


def layer_options(model: nn.Module) -> dict[str, dict]:
    """The `optim_options` of all losses of a model's distiller: {prefix of the parameter names: options}."""
    losses = getattr(getattr(model, 'distiller', None), 'distill_losses', {})
    return {
        f'distiller.distill_losses.{name}.{layer}.': options
        for name, loss in losses.items()
        for layer, options in contract_of(loss).optim_options.items()
    }


@OPTIMIZERS.register_module()
class CombinedOptimizer(Optimizer):
    """Several optimizers that step together: one for the student, and one for each layer that asks for its own.

    For MMEngine this is one optimizer. Gradient scaling, accumulation and clipping, learning rate schedules and
    checkpoints therefore handle the parameters of all of them. A step that mixed precision skips is skipped by all.

    Args:
        params: all parameters or parameter groups.
        optimizer: config of the optimizer for the parameters that are in no layer of `layers`.
        layers: {name: (parameters, config of their optimizer)}. Each has one parameter group, after the others.

    Raises:
        ValueError: by `load_state_dict`, if the state is that of other optimizers.
    """

    def __init__(
        self, params: Iterable[nn.Parameter | dict], optimizer: dict, layers: dict[str, tuple[list, dict]]
    ) -> None:
        self.layers = list(layers)
        taken = {parameter for parameters, _ in layers.values() for parameter in parameters}
        self.optimizers = [OPTIMIZERS.build(dict(optimizer, params=list(_without(taken, params))))]
        for parameters, config in layers.values():
            self.optimizers.append(OPTIMIZERS.build(dict(config, params=parameters)))
        super().__init__([group for one in self.optimizers for group in one.param_groups], {})
        self.defaults = self.optimizers[0].defaults  # MMEngine logs and schedules a base_lr, which is the student's
        self._share()

    def _share(self) -> None:
        """Lets the optimizers work on the parameter groups and the state of this one."""
        groups = iter(self.param_groups)
        for one in self.optimizers:
            one.__setstate__(dict(state=self.state, param_groups=[next(groups) for _ in one.param_groups]))

    def step(self, closure: Callable | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for one in self.optimizers:
            one.step()
        return loss

    @property
    def _types(self) -> list[str]:
        return [type(one).__name__ for one in self.optimizers]

    def state_dict(self) -> dict:
        return dict(super().state_dict(), optimizers=self._types)

    def load_state_dict(self, state_dict: dict) -> None:
        saved = state_dict.get('optimizers')
        if saved != self._types:
            raise ValueError(
                f'the checkpoint has the state of {saved or "a single optimizer"}, expected {self._types}: here the '
                f'layers {self.layers} have optimizers of their own. Resume with the settings of the losses that the '
                'checkpoint was written with, such as critic_optimizer=None, or start a new run with load_from'
            )
        super().load_state_dict(state_dict)
        self._share()


def _without(taken: set, params: Iterable[nn.Parameter | dict]) -> Iterator[nn.Parameter | dict]:
    """The parameters or parameter groups without the parameters of `taken`."""
    for item in params:
        if not isinstance(item, dict):
            if item not in taken:
                yield item
        elif not taken.issuperset(item['params']):
            yield dict(item, params=[parameter for parameter in item['params'] if parameter not in taken])


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class DistillOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """MMEngine's constructor; also applies the `optim_options` of the model's losses, see `DistillLoss`.

    A learning rate becomes a multiple of the base learning rate, as a custom key of `paramwise_cfg`. If a layer asks
    for an optimizer of its own, a `CombinedOptimizer` is built.

    With `decay_rate` in `paramwise_cfg`, the student gets the layer-wise learning rates of MMSegmentation's
    `LearningRateDecayOptimizerConstructor`, and the layers of losses those of the other options.

    Raises:
        ValueError: if a loss has options for a layer without parameters, or `optimizer` together with other options
            than `lr`; if layer-wise learning rates are not known for the backbone.
    """

    optimizer_cfg: dict
    paramwise_cfg: dict

    def __call__(self, model: nn.Module) -> OptimWrapper:
        distillation: BaseModel = getattr(model, 'module', model)
        multiples, layers = {}, {}
        for prefix, options in layer_options(distillation).items():
            distillation.distiller.optim_options_read = True
            parameters = [value for name, value in distillation.named_parameters() if name.startswith(prefix)]
            if not parameters:
                raise ValueError(f'optim_options are given for {prefix[:-1]}, which has no parameters')
            optimizer, others = options.get('optimizer'), {key: options[key] for key in options if key != 'optimizer'}
            if not optimizer:
                multiples[prefix] = self._as_multiple(others)
            elif others.keys() == {'lr'}:
                layers[prefix[:-1]] = (parameters, dict(optimizer, lr=others['lr']))
            else:
                raise ValueError(
                    f'the optim_options of {prefix[:-1]} have an optimizer and {sorted(others)}, expected lr beside '
                    'it: other settings belong into the config of the optimizer'
                )
        if multiples:
            self.paramwise_cfg = dict(
                self.paramwise_cfg, custom_keys={**self.paramwise_cfg.get('custom_keys', {}), **multiples}
            )
        if layers:
            self.optimizer_cfg = dict(type='CombinedOptimizer', optimizer=self.optimizer_cfg, layers=layers)
        return super().__call__(model)

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs) -> None:
        if prefix or 'decay_rate' not in self.paramwise_cfg:
            super().add_params(params, module, prefix, **kwargs)
            return
        LearningRateDecayOptimizerConstructor.add_params(self, params, getattr(module, 'architecture', module))
        if hasattr(module, 'distiller'):
            super().add_params(params, module.distiller, 'distiller')

    def _as_multiple(self, options: dict) -> dict:
        if 'lr' not in options:
            return options
        return dict({key: value for key, value in options.items() if key != 'lr'}, lr_mult=options['lr'] / self.base_lr)


@PARAM_SCHEDULERS.register_module()
class FallingPolyLR(PolyLR):
    """PolyLR that keeps the learning rate of a parameter group which starts at or below eta_min.

    MMEngine's PolyLR raises such a group to eta_min.
    """

    def _get_value(self) -> list[float]:
        values = zip(super()._get_value(), self.optimizer.param_groups)
        return [
            group[self.param_name] if group[f'initial_{self.param_name}'] <= self.eta_min else value
            for value, group in values
        ]


# As torch.cpu.get_capabilities() calls them: x86, then ARM.
BFLOAT16_INSTRUCTIONS = ('avx512_bf16', 'amx_bf16', 'bf16', 'sve_bf16')


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Mixed precision on a CPU: the forward pass runs in bfloat16. MMEngine's `AmpOptimWrapper` needs a GPU.

    bfloat16 has the range of float32, so the loss is not scaled. On a CPU without bfloat16 instructions, a warning says
    that float32 is faster.

    Raises:
        ValueError: on a machine with a GPU, which `AmpOptimWrapper` is for.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if get_device() != 'cpu':
            raise ValueError(
                f'CPUAmpOptimWrapper is for a CPU, but this machine trains on {get_device()}: set optim_wrapper.type '
                "to AmpOptimWrapper, and optim_wrapper.dtype to 'bfloat16' or 'float16'"
            )
        if not cpu_has_bfloat16():
            print_log(
                'this CPU has no bfloat16 instructions, so that mixed precision is slower than float32: train without '
                '--amp',
                logger='current',
                level=logging.WARNING,
            )

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16):
            yield


def cpu_has_bfloat16() -> bool:
    """Whether the CPU has bfloat16 instructions; True if this version of torch does not know."""
    capabilities = getattr(torch.cpu, 'get_capabilities', None)
    return capabilities is None or any(capabilities().get(name) for name in BFLOAT16_INSTRUCTIONS)
