"""Reading checkpoints of plain and of distillation runs, with errors that say what is wrong."""

import pickle
from typing import Dict

from mmengine.model import BaseModule
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

_init_weights = BaseModule.init_weights  # what does otherwise converts names itself
STUDENT = ('architecture.model.', 'architecture.')  # where the algorithms of MMRazor 0.x and 1.x keep the student


def read_checkpoint(source: str) -> dict:
    """Reads a checkpoint from a file or an address, onto the CPU.

    Raises:
        FileNotFoundError: if there is no such file, or it cannot be downloaded.
        ValueError: if it is no checkpoint, or only a part of one.
    """
    try:
        checkpoint = CheckpointLoader.load_checkpoint(source, map_location='cpu')
    except FileNotFoundError:
        if '://' in source:  # that says where to put it
            raise
        raise FileNotFoundError(f'no checkpoint {source}') from None
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError) as error:
        raise ValueError(f'{source} is no readable checkpoint (truncated, or more than weights?): {error}') from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f'{source} holds a {type(checkpoint).__name__}, expected a dict with the key "state_dict"')
    return checkpoint


def segmentor_state(checkpoint: dict) -> Dict[str, Tensor]:
    """The plain segmentor's weights: the student's where the checkpoint is one of a distillation."""
    state = {key.removeprefix('module.'): value for key, value in checkpoint.get('state_dict', checkpoint).items()}
    for prefix in STUDENT:
        student = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
        if student:
            return student
    return state


def check_pretrained(model: nn.Module) -> None:
    """Looks into the checkpoints that parts of a model are to start from; mmengine loads what fits, if anything does.

    Raises:
        ValueError: if one has less than half of the weights of its part.
    """
    for name, part in model.named_modules():
        init = getattr(part, 'init_cfg', None)
        if isinstance(init, dict) and init.get('type') == 'Pretrained' and type(part).init_weights is _init_weights:
            checkpoint = read_checkpoint(init['checkpoint'])
            state = checkpoint.get('state_dict', checkpoint)
            prefix = f'{init["prefix"].rstrip(".")}.' if init.get('prefix') else ''
            own = part.state_dict()
            fitting = [
                key for key, value in own.items() if getattr(state.get(prefix + key), 'shape', None) == value.shape
            ]
            if 2 * len(fitting) < len(own):
                raise ValueError(
                    f'{init["checkpoint"]} holds {len(fitting)} of the {len(own)} weights of {name}, '
                    f'which is to start from it; it has {", ".join(list(state)[:3])}, ...'
                )


def load_strictly(model: nn.Module, state: Dict[str, Tensor], source: str) -> None:
    """Loads all of `state` into all of `model`.

    Raises:
        ValueError: if one has weights that the other lacks, or of another shape.
    """
    problems = []
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:  # shapes
        problems = str(error).splitlines()[1:]
    else:
        missing = [key for key in missing if not key.endswith('num_batches_tracked')]
        problems += [
            f'{len(keys)} {what}: {", ".join(keys[:3])}{", ..." if len(keys) > 3 else ""}'
            for what, keys in (('missing', missing), ('unexpected', unexpected))
            if keys
        ]
    if problems:
        raise ValueError(
            f'{source} is not a checkpoint of this {type(model).__name__}: '
            + '; '.join(problem.strip() for problem in problems[:3])
        )
