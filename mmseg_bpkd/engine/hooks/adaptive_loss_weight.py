"""Weights of losses that change over the training."""

from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

ATTRIBUTES = ('weight', 'loss_weight')  # of this project's losses, and of MMSegmentation's


@HOOKS.register_module()
class AdaptiveLossWeightHook(Hook):
    """The adaptive loss weighting of AICSD (Mansourian et al., 2023, arXiv 2308.04243).

    In iteration i of n, it multiplies the weights of the `rising` losses by i / n, and those of the `falling` losses by
    1 - i / n. The authors' code (`train_kd.py` of AmirMansurian/AICSD, commit f99949e) does so per epoch, with the
    similarity loss and the student's cross-entropy rising, and KD falling.

    The weights depend only on the iteration, so that a resumed run continues with the same ones.

    Args:
        rising, falling: names of losses in the model, such as 'distiller.distill_losses.loss_kd' or
            'architecture.decode_head.loss_decode'.

    Raises:
        ValueError: before training, if the model has no such loss or the loss has no weight, or if a loss is named
            twice.
    """

    def __init__(self, rising: Sequence[str] = (), falling: Sequence[str] = ()) -> None:
        self.rising = tuple(rising)
        self.falling = tuple(falling)
        names = self.rising + self.falling
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f'rising and falling name {repeated} more than once')

    def before_train(self, runner: Runner) -> None:
        model = getattr(runner.model, 'module', runner.model)
        self.initial: dict[str, tuple[nn.Module, str, float]] = {}
        for name in self.rising + self.falling:
            loss = dict(model.named_modules()).get(name)
            attribute = next((key for key in ATTRIBUTES if isinstance(getattr(loss, key, None), (int, float))), None)
            if loss is None or attribute is None:
                raise ValueError(
                    f'{name} must be a loss of the model with one of {ATTRIBUTES}, got '
                    f'{"nothing" if loss is None else type(loss).__name__}'
                )
            self.initial[name] = loss, attribute, getattr(loss, attribute)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        progress = runner.iter / runner.max_iters
        for name, (loss, attribute, weight) in self.initial.items():
            setattr(loss, attribute, weight * (progress if name in self.rising else 1 - progress))
