import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook, LoggerHook
from mmengine.model import BaseModel, is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmseg_bpkd.fileio.console import show


@HOOKS.register_module()
class ProgressHook(Hook):
    """Shows what runs where, and then the losses, learning rate, time left and memory every few seconds.

    The lines of the LoggerHook count, too. The last step is always shown.

    Args:
        seconds: the longest time between two lines.
    """

    priority = 'LOWEST'  # after LoggerHook

    def __init__(self, seconds: float = 5.0) -> None:
        self.seconds = seconds
        self.shown = 0.0

    def before_train(self, runner: Runner) -> None:
        for item, text in _items(runner):
            runner.logger.info(f'{item + ":":10}{text}')
        self.shown = time.monotonic()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        interval = next((hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)), None)
        if interval and self.every_n_inner_iters(batch_idx, interval):
            self.shown = time.monotonic()
        elif time.monotonic() - self.shown > self.seconds or runner.iter + 1 == runner.max_iters:
            self.shown = time.monotonic()
            if is_main_process():
                show(_line(runner))


def _line(runner: Runner) -> str:
    # Not by the LogProcessor, which resets the peak memory of the GPU: the log would have that of a few seconds.
    hub = runner.message_hub
    scalars = hub.log_scalars.items()
    values = {name.removeprefix('train/'): log.current() for name, log in scalars if name.startswith('train/')}
    parts = [f'{name}: {value:.4g}' for name, value in values.items() if name != 'base_lr']
    parts.insert(1, f'eta: {timedelta(seconds=int(hub.runtime_info.get("eta", 0)))}')
    if torch.cuda.is_available():
        parts.insert(2, f'memory: {torch.cuda.max_memory_allocated() // 2**20}')
    width = len(str(runner.max_iters))
    return f'Iter(train) [{runner.iter + 1:{width}}/{runner.max_iters}]  ' + '  '.join(parts)


def _items(runner: Runner) -> Iterator[tuple[str, str]]:
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    student = getattr(model, 'student', None)
    if student is not None and hasattr(model, 'teacher'):
        yield 'teacher', f'{_describe(model.teacher)}, {getattr(model, "teacher_ckpt", None) or "built"}'
        yield 'student', _describe(student)
        losses = getattr(getattr(model, 'distiller', None), 'distill_losses', {})
        yield 'losses', ', '.join(f'{name} ({type(loss).__name__})' for name, loss in losses.items())
    else:
        yield 'network', _describe(model)
    train, val = runner.train_dataloader, runner.val_loop and runner.val_dataloader
    validated = f', {len(val.dataset)} to validate' if val else ''
    yield 'data', f'{type(train.dataset).__name__}, {len(train.dataset)} images{validated}'
    device = next(model.parameters()).device
    where = torch.cuda.get_device_name(device) if device.type == 'cuda' else f'CPU, {torch.get_num_threads()} threads'
    wrapper = type(runner.optim_wrapper).__name__
    yield 'device', f'{runner.world_size} x {where}, {train.batch_size or "?"} images each, {wrapper}'
    yield 'steps', f'{runner.iter} to {runner.max_iters}'
    yield 'folder', f'{runner.work_dir} (log and config in {runner.timestamp}/)'


def _describe(model: BaseModel) -> str:
    parts = [model, *(getattr(model, name) for name in ('backbone', 'decode_head') if hasattr(model, name))]
    names = ', '.join(type(part).__name__ for part in parts)
    count = sum(parameter.numel() for parameter in model.parameters())
    return f'{names}, {count / 1e6:.2f} million parameters'
