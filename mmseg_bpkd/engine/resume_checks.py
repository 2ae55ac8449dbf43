"""Whether a checkpoint can be resumed with a config, and what it overrides in the config."""

from collections.abc import Iterable, Iterator
from typing import Any

from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from mmseg_bpkd.config.signatures import arguments_of
from mmseg_bpkd.fileio.checkpoint import load_strictly

PARTS = ('state_dict', 'optimizer', 'message_hub', 'meta')
FROM_WEIGHTS = 'start from its weights with --cfg-options load_from=PATH, without --resume'
COUNTERS = {'last_step', 'verbose'}  # arguments of a scheduler that are no settings


def check_resumed(runner: Runner, checkpoint: dict, source: str) -> None:
    """Checks a checkpoint before MMEngine resumes from it, and loads its weights. `read_checkpoint` has checked types.

    MMEngine only warns of weights that do not fit. It loads the state of another optimizer or schedule, which fails in
    the first step or mixes both.

    Args:
        runner: a runner whose model, optimizer and schedules are built.
        checkpoint: the content of the file.
        source: the name of the file, for error messages.

    Raises:
        ValueError: if parts are missing or do not fit the config.
    """
    missing = [key for key in PARTS if key not in checkpoint]
    if missing:
        raise ValueError(
            f'cannot resume from {source}, which has no {", ".join(missing)}: it is an exported checkpoint or the '
            'best one. Resume from an iter_*.pth, or '
            f'{FROM_WEIGHTS}'
        )
    _check_counts(runner, checkpoint['meta'], source)
    model = getattr(runner.model, 'module', runner.model)
    _check_method(model, checkpoint['message_hub'], source)
    load_strictly(model, checkpoint['state_dict'], source)
    if isinstance(runner.optim_wrapper, OptimWrapper):  # with several, MMEngine names the states
        _check_optimizer(runner.optim_wrapper.optimizer, checkpoint['optimizer'], source)
        _check_schedules(runner.param_schedulers or [], checkpoint.get('param_schedulers', []), source)


def warn_of_overridden_settings(runner: Runner, checkpoint: dict, source: str) -> None:
    """Lists the settings of the config that resuming replaces, in one warning. The arguments are those of
    `check_resumed`.
    """
    said = []
    settings = _overridden(runner, checkpoint)
    if settings:
        said.append(f'{source} overrides the config: {", ".join(settings)}. To use the config, {FROM_WEIGHTS}')
    now = runner.train_dataloader.batch_size * runner.world_size
    then = checkpoint['meta'].get('data_stream', {}).get('samples_per_iter', now)
    if then != now:
        said.append(f'The batch is that of the config: {now} images, before {then}')
    if said:
        runner.logger.warning('. '.join(said))


def _overridden(runner: Runner, checkpoint: dict) -> list[str]:
    seed = checkpoint['meta'].get('seed', runner.seed)
    changes = [] if seed == runner.seed else [f'seed {seed} (config: {runner.seed})']
    if isinstance(runner.optim_wrapper, OptimWrapper):
        groups = zip(checkpoint['optimizer']['param_groups'], runner.optim_wrapper.optimizer.param_groups)
        for saved, current in groups:
            # A schedule has changed lr already, and keeps the value of the config as initial_lr.
            changes += _differences(saved, current, [key for key in current if f'initial_{key}' not in current])
        for saved, schedule in zip(checkpoint.get('param_schedulers', []), runner.param_schedulers or []):
            names = [name for name in arguments_of(type(schedule))[0] if name not in COUNTERS]
            changes += _differences(saved, vars(schedule), names, f'{type(schedule).__name__}.')
    return list(dict.fromkeys(changes))  # groups of parameters have the same differences


def _differences(saved: dict, current: dict, keys: Iterable[str], prefix: str = '') -> Iterator[str]:
    for key in keys:
        if key not in ('params', 'optimizer') and key in saved and key in current and saved[key] != current[key]:
            name = prefix + key.removeprefix('initial_')
            yield f'{name} {_short(saved[key])} (config: {_short(current[key])})'


def _short(value: Any) -> str:
    return f'{value:.6g}' if isinstance(value, float) else str(value)


def _check_counts(runner: Runner, meta: dict, source: str) -> None:
    iteration = meta.get('iter')
    if type(iteration) is not int or not 0 <= iteration <= runner.max_iters:
        raise ValueError(
            f'cannot resume from {source}: it is of iteration {iteration!r}, expected at most {runner.max_iters}, '
            'which is train_cfg.max_iters'
        )
    if type(meta.get('epoch')) is not int:
        raise ValueError(f'cannot resume from {source}: its epoch is {meta.get("epoch")!r}, expected a whole number')
    stream = meta.get('data_stream', dict(seed=0, position=0))
    if not isinstance(stream, dict) or any(
        type(stream.get(k)) is not int or stream[k] < 0 for k in ('seed', 'position')
    ):
        raise ValueError(f'cannot resume from {source}: its data_stream is {stream!r}, expected a seed and a position')


def _check_method(model: Any, message_hub: dict, source: str) -> None:
    """Compares the losses of the distiller with those that MMEngine has logged."""
    scalars = message_hub.get('log_scalars')
    if not isinstance(scalars, dict) or not all(isinstance(key, str) for key in scalars):
        raise ValueError(f'cannot resume from {source}: its message_hub has no log_scalars')
    logged = [key.removeprefix('train/') for key in scalars if key.startswith('train/')]
    if 'loss' not in logged:
        return
    logged = [key.removeprefix('distill.') for key in logged if key.startswith('distill.')]
    losses = list(getattr(getattr(model, 'distiller', None), 'distill_losses', {}))
    # A loss with several terms is logged as loss_term.
    trained = {name: [key for key in logged if key == name or key.startswith(f'{name}_')] for name in losses}
    others = [key for key in logged if key not in sum(trained.values(), ['loss_stopped'])]
    untrained = [name for name, keys in trained.items() if not keys and 'loss_stopped' not in logged]
    if others or untrained:
        raise ValueError(
            f'cannot resume from {source}: it was trained with {", ".join(logged) or "no distillation"}, but the '
            f'config has {", ".join(losses) or "no distillation"}. Give the config or --method of the checkpoint, or '
            f'{FROM_WEIGHTS}'
        )


def _check_optimizer(optimizer: Any, saved: dict, source: str) -> None:
    groups = saved.get('param_groups')
    if not isinstance(groups, list) or not groups or not all(isinstance(group, dict) for group in groups):
        raise ValueError(f'cannot resume from {source}: its optimizer has no param_groups')
    # Versions of PyTorch differ in switches only.
    settings = [key for key, value in optimizer.defaults.items() if not isinstance(value, (bool, type(None)))]
    missing = [key for key in settings if key not in groups[0]]
    if missing:
        raise ValueError(
            f'cannot resume from {source}: the config has {type(optimizer).__name__}, but the checkpoint is of another '
            f'optimizer, without {", ".join(missing)}. Set the optimizer of the checkpoint, or {FROM_WEIGHTS}'
        )
    if 'optimizers' in saved or hasattr(optimizer, 'optimizers'):
        return  # a CombinedOptimizer compares them
    sizes = [[len(group.get('params', [])) for group in some] for some in (groups, optimizer.param_groups)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f'cannot resume from {source}: its optimizer has groups of {sizes[0]} parameters, but with this config '
            f'they are {sizes[1]}. Set paramwise_cfg as it was, or {FROM_WEIGHTS}'
        )


def _check_schedules(schedules: list, saved: Any, source: str) -> None:
    """The state of a schedule does not name its class, but each class has settings of its own."""
    if not isinstance(saved, list) or not all(isinstance(state, dict) for state in saved):
        raise ValueError(f'cannot resume from {source}: its param_schedulers are no list of dicts')
    if len(saved) != len(schedules):
        raise ValueError(
            f'cannot resume from {source}: it has the state of {len(saved)} schedules, but the config has '
            f'{len(schedules)}. Set the param_scheduler of the checkpoint, or {FROM_WEIGHTS}'
        )
    for i, (state, schedule) in enumerate(zip(saved, schedules)):
        current = schedule.state_dict()
        # Versions of MMEngine differ in settings that are None.
        others = [key for key in state if key not in current and state[key] is not None]
        missing = [key for key in current if key not in state and current[key] is not None]
        if others or missing:
            raise ValueError(
                f'cannot resume from {source}: param_scheduler {i} is {type(schedule).__name__}, but the checkpoint is '
                f'of another schedule, with {", ".join(others) or "nothing else"} and without '
                f'{", ".join(missing) or "nothing"}. Set the param_scheduler of the checkpoint, or {FROM_WEIGHTS}'
            )
