"""Stopping a run that became NaN or infinite, before it overwrites a checkpoint that is still good."""

import math
from collections.abc import Iterator

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor

from mmseg_bpkd.fileio.checkpoint import is_finite
from mmseg_bpkd.fileio.work_dir import last_checkpoint


@HOOKS.register_module()
class StopOnNaNHook(Hook):
    """Ends the training with an error if a loss or a weight is NaN or infinite.

    - After each step, it checks the losses that MMEngine has read for its log. It does not synchronize with the GPU.
    - Before each checkpoint, it checks what the checkpoint would hold: weights, buffers and the optimizer's state.
      Before each validation, it checks weights and buffers.

    The scaler of float16 skips a step that overflows. With a scaler, single losses may therefore be NaN or infinite,
    but not `patience` of them in a row. Buffers that are infinite before the training, such as masks, may be infinite.

    Args:
        patience: the number of successive steps with a loss that is not finite after which a run with a scaler stops.
            A scaler needs at most 16 to go from its first scale to 1.

    Raises:
        FloatingPointError: naming the iteration and the first term of the loss, or the tensor, and what to try.
    """

    priority = 55  # after EMAHook, which adds its weights to a checkpoint, and before LoggerHook

    def __init__(self, patience: int = 20) -> None:
        self.patience = patience
        self.overflows = 0
        self.first_overflow = ''
        self.training = False

    def before_train(self, runner: Runner) -> None:
        self.training = True
        self.first_iter = runner.iter
        self.infinite_buffers = {name for name, value in _model(runner).named_buffers() if not is_finite(value)}

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        total = _logged(runner, 'loss')
        if total is None or math.isfinite(total):
            self.overflows = 0
            return
        if self.overflows == 0:
            terms = {name: _logged(runner, name) for name in outputs or {} if 'loss' in name and name != 'loss'}
            broken = {name: value for name, value in terms.items() if value is not None and not math.isfinite(value)}
            term, value = next(iter(broken.items()), ('loss', total))
            self.first_overflow = f'iteration {runner.iter + 1}: {term} is {value}{_images(data_batch)}'
        self.overflows += 1
        if not _scales(runner) or self.overflows >= self.patience:
            raise FloatingPointError(f'{self.first_overflow}. {self._advice(runner)}')

    def before_val(self, runner: Runner) -> None:
        if self.training:
            self._check(runner, _model(runner).state_dict(), runner.iter)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        content = {key: checkpoint[key] for key in ('state_dict', 'ema_state_dict', 'optimizer') if key in checkpoint}
        self._check(runner, content, checkpoint['meta']['iter'])

    def _check(self, runner: Runner, content: dict, iteration: int) -> None:
        for name, value in _tensors(content):
            weight = name.removeprefix('state_dict.').removeprefix('ema_state_dict.module.')
            if weight not in self.infinite_buffers and not is_finite(value):
                raise FloatingPointError(
                    f'after iteration {iteration}, {name} holds NaN or infinity. {self._advice(runner)}'
                )

    def _advice(self, runner: Runner) -> str:
        last = last_checkpoint(runner.work_dir)
        kept = f'The last checkpoint is {last}' if last else 'There is no checkpoint'
        rate = next(iter(runner.optim_wrapper.get_lr().values()))[0]
        first = ' Check the weights that the run starts from.' if runner.iter == self.first_iter else ''
        return (
            f'{kept}; nothing was saved since. Try a lower learning rate (now {rate:.2g}), a longer warm-up, or '
            'optim_wrapper.clip_grad=dict(max_norm=10); with float16, try optim_wrapper.dtype=bfloat16. Check images '
            f'and labels with bpkd check.{first}'
        )


def _model(runner: Runner):
    return getattr(runner.model, 'module', runner.model)


def _logged(runner: Runner, name: str) -> float | None:
    """The last value that MMEngine's RuntimeInfoHook has read. Reading it from the outputs would synchronize again."""
    history = runner.message_hub.log_scalars.get(f'train/{name}')
    return None if history is None else history.current()


def _scales(runner: Runner) -> bool:
    scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
    return scaler is not None and scaler.is_enabled()


def _images(data_batch: dict | None) -> str:
    samples = data_batch.get('data_samples', []) if isinstance(data_batch, dict) else []
    paths = [sample.img_path for sample in samples if hasattr(sample, 'img_path')]
    return f', with the images {", ".join(paths)}' if paths else ''


def _tensors(node, place: str = '') -> Iterator[tuple[str, Tensor]]:
    if isinstance(node, Tensor):
        yield place, node
    elif isinstance(node, dict):
        for key, child in node.items():
            yield from _tensors(child, f'{place}.{key}' if place else str(key))
    elif isinstance(node, (list, tuple)):
        for i, child in enumerate(node):
            yield from _tensors(child, f'{place}.{i}')
