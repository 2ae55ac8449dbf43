"""Reading and loading checkpoints of plain runs and of distillations."""

import os.path as osp
from collections import OrderedDict
from collections.abc import Iterable
from logging import WARNING

from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from . import safetensors_files  # noqa: F401  # registers their suffix
from .package_files import find_checkpoint

_init_weights = BaseModule.init_weights
STUDENT = 'architecture.'  # prefix of the student in a distillation; 'architecture.model.' in MMRazor 0.x
WRAPPERS = ('_orig_mod.', 'module.', 'model.', STUDENT)  # of torch.compile, DDP, Lightning, MMRazor

# What the entries of a checkpoint must be, if it has them; the second table is for resuming.
STRUCTURE = {'state_dict': dict, 'meta': dict, 'meta.dataset_meta': (dict, type(None))}
STRUCTURE_OF_A_RUN = {
    'optimizer': dict,
    'message_hub': dict,
    'param_schedulers': (list, dict),
    'ema_state_dict': dict,
    'meta.epoch': int,
    'meta.iter': int,
    'meta.data_stream': dict,
    'meta.data_stream.seed': int,
    'meta.data_stream.position': int,
}


def read_checkpoint(source: str, map_location: str = 'cpu', resume: bool = False) -> dict:
    """Loads a checkpoint.

    Args:
        source: path or URL, see `find_checkpoint`.
        map_location: where to put the tensors.
        resume: whether to check also the parts that resuming needs.

    Raises:
        FileNotFoundError: if the file does not exist or cannot be downloaded.
        ImportError: for a safetensors file, if safetensors is not installed.
        ValueError: if the file is not a checkpoint, or is truncated.
    """
    try:
        checkpoint = CheckpointLoader.load_checkpoint(find_checkpoint(source), map_location=map_location)
    except FileNotFoundError:
        if '://' in source:  # the error of a failed download already says what to do
            raise
        raise FileNotFoundError(f'no checkpoint {source}: give the path of a .pth file, or a URL') from None
    _check_structure(checkpoint, source, {**STRUCTURE, **STRUCTURE_OF_A_RUN} if resume else STRUCTURE)
    return checkpoint


def _check_structure(checkpoint: dict, source: str, structure: dict) -> None:
    if not isinstance(checkpoint, dict):
        raise ValueError(f'{source} holds a {type(checkpoint).__name__}: expected a dict with the key "state_dict"')
    for path, kinds in structure.items():
        *parents, name = path.split('.')
        owner = checkpoint
        for parent in parents:
            owner = owner.get(parent) or {}
        if name in owner and not isinstance(owner[name], kinds):
            expected = ' or '.join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
            raise ValueError(
                f'{source} is damaged, or not a checkpoint: {path} is a {type(owner[name]).__name__}, expected a '
                f'{expected}. Give another checkpoint'
            )
    unnamed = [key for owner in (checkpoint, weights_of(checkpoint)) for key in owner if not isinstance(key, str)]
    if unnamed:
        raise ValueError(f'{source} is not a checkpoint: it has the key {unnamed[0]!r}, expected names of weights')


def weights_of(checkpoint: dict) -> dict[str, Tensor]:
    """Returns the weights: under 'state_dict', under 'model' as in DeiT's checkpoints, or the checkpoint itself."""
    named = [checkpoint[key] for key in ('state_dict', 'model') if isinstance(checkpoint.get(key), dict)]
    return named[0] if named else checkpoint


def segmentor_state(checkpoint: dict, model: nn.Module, source: str) -> dict[str, Tensor]:
    """Returns the weights of a checkpoint under the names that they have in `model`.

    Of the checkpoint of a distillation, a segmentor gets the student. The student of a distillation gets the weights
    of a segmentor. A prefix of `WRAPPERS` is removed if the weights then fit.

    Args:
        model: a segmentor or a distillation.
        source: where the checkpoint was read from, for the log.
    """
    state = {key.replace('._orig_mod.', '.'): value for key, value in weights_of(checkpoint).items()}
    own = model.state_dict().keys()
    removed, added = max(
        ((prefix, student) for student in ('', STUDENT) for prefix in _prefixes(state)),
        key=lambda pair: sum(pair[1] + key.removeprefix(pair[0]) in own for key in state if key.startswith(pair[0])),
    )
    if removed and not removed.startswith(STUDENT):  # a distillation is nothing unusual
        print_log(f'{source}: the prefix {removed} of the weights is removed', 'current')
    if added:
        print_log(f'{source}: the weights are those of a segmentor, and are loaded into the student', 'current')
    return {added + key.removeprefix(removed): value for key, value in state.items() if key.startswith(removed)}


def _prefixes(keys: Iterable[str]) -> list[str]:
    """The prefixes that consist of `WRAPPERS`, the shortest first."""
    found = {''}
    for key in keys:
        prefix = ''
        while wrapper := next((wrapper for wrapper in WRAPPERS if key.startswith(wrapper, len(prefix))), ''):
            prefix += wrapper
            found.add(prefix)
    return sorted(found, key=len)


def fitting_state(checkpoint: dict, model: nn.Module, source: str) -> dict[str, Tensor]:
    """Returns the weights of a checkpoint that fit `model`, as `load_from` loads them. A warning names the others.

    Args:
        model: a segmentor or a distillation.
        source: where the checkpoint was read from, for messages.

    Raises:
        ValueError: if it holds less than half of the weights of the model, or of the student of a distillation; or NaN
            or infinity.
    """
    state, own = segmentor_state(checkpoint, model, source), model.state_dict()
    fitting = OrderedDict((key, state[key]) for key in _fitting(own, state))
    needed = [key for key in own if not key.endswith('num_batches_tracked')]
    needed = [key for key in needed if key.startswith(STUDENT)] or needed
    missing = [key for key in needed if key not in fitting]
    if 2 * len(missing) > len(needed):
        raise ValueError(
            f'load_from={source!r} holds {len(needed) - len(missing)} of the {len(needed)} weights of this '
            f'{type(model).__name__}, expected at least half; it has {_some(state)}. Set load_from to a checkpoint of '
            'the same network'
        )
    _check_finite([key for key in fitting if is_finite(own[key]) and not is_finite(fitting[key])], state, source)
    if missing:
        text = f'load_from={source!r} lacks {len(missing)} of {len(needed)} weights, or has them in another shape: '
        print_log(text + _some(missing), 'current', WARNING)
    fitting._metadata = getattr(weights_of(checkpoint), '_metadata', OrderedDict())  # versions of the modules
    return fitting


def _fitting(own: dict[str, Tensor], state: dict[str, Tensor]) -> list[str]:
    """The names of the weights that `state` has in the same shape."""
    return [key for key, value in own.items() if getattr(state.get(key), 'shape', None) == value.shape]


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ', '.join(names[:3]) + (', ...' if len(names) > 3 else '')


def last_checkpoint(folder: str) -> str | None:
    """Returns the path of the last checkpoint of a run, given its work directory. None if there is none.

    MMEngine stores the absolute path. After the folder was moved or copied, that is not the file in this folder.

    Raises:
        ValueError: if the file `last_checkpoint` does not hold a path.
    """
    stored = osp.join(folder, 'last_checkpoint')
    if not osp.isfile(stored):
        return None
    with open(stored, encoding='utf-8', errors='replace') as file:
        path = file.read().strip()
    if not path.isprintable() or '\ufffd' in path:
        raise ValueError(f'{stored} is damaged: expected the path of a checkpoint. Correct it, or use --resume PATH')
    here = osp.join(folder, osp.basename(path))
    return here if osp.isfile(here) else path  # `out_dir` of the CheckpointHook can be another folder


def check_pretrained(model: nn.Module) -> None:
    """Checks the pretrained checkpoints that parts of a model are initialized from.

    MMEngine loads the weights that fit and ignores the others, even if none fits.

    Raises:
        FileNotFoundError: see `read_checkpoint`.
        ValueError: if a checkpoint holds less than half of the weights of its part, or cannot be read.
    """
    for name, part in model.named_modules():
        init = getattr(part, 'init_cfg', None)
        # A part that overrides init_weights() may rename the weights, so it is not checked.
        if isinstance(init, dict) and init.get('type') == 'Pretrained' and type(part).init_weights is _init_weights:
            checkpoint = read_checkpoint(init['checkpoint'])
            state = checkpoint.get('state_dict', checkpoint)
            prefix = f'{init["prefix"].rstrip(".")}.' if init.get('prefix') else ''
            own = part.state_dict()
            fitting = _fitting(own, {key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)})
            if 2 * len(fitting) < len(own):
                raise ValueError(
                    f'{init["checkpoint"]} holds {len(fitting)} of the {len(own)} weights of {name}, '
                    f'expected at least half; it has {_some(state)}. Set init_cfg or pretrained to '
                    f'a checkpoint of this {type(part).__name__}'
                )


def is_finite(x: Tensor) -> bool:
    """Whether a tensor holds neither NaN nor infinity."""
    return not x.is_floating_point() or bool(x.isfinite().all())


def load_strictly(model: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Loads `state` into `model`. Both must have the same keys, except that `num_batches_tracked` may be missing.

    Args:
        source: where `state` was read from, for the error message.

    Raises:
        ValueError: if weights are missing, unexpected, of another shape, NaN or infinite.
    """
    may_be_infinite = {name for name, value in model.named_buffers() if not is_finite(value)}  # such as a mask
    problems = []
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:  # shapes
        problems = str(error).splitlines()[1:]
    else:
        missing = [key for key in missing if not key.endswith('num_batches_tracked')]
        problems += [
            f'{len(keys)} {what}: {_some(keys)}'
            for what, keys in (('missing', missing), ('unexpected', unexpected))
            if keys
        ]
    if problems:
        raise ValueError(
            f'{source} is not a checkpoint of this {type(model).__name__}: '
            + '; '.join(problem.strip(' \t.') for problem in problems[:3])
            + '. Give a checkpoint that was trained with the same model config'
        )
    broken = [
        name for name, value in model.state_dict().items() if name not in may_be_infinite and not is_finite(value)
    ]
    _check_finite(broken, state, source)


def _check_finite(broken: list[str], state: dict[str, Tensor], source: str) -> None:
    if broken:
        raise ValueError(
            f'{source} holds NaN or infinity in {len(broken)} of its {len(state)} tensors, first in {broken[0]}: the '
            'training that wrote it had failed. Give an earlier checkpoint, or train again'
        )
