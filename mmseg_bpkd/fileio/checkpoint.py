"""Reading and loading checkpoints of plain runs and of distillations."""

from mmengine.model import BaseModule
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from .package_files import find_checkpoint

_init_weights = BaseModule.init_weights
STUDENT = ('architecture.model.', 'architecture.')  # prefixes of the student in MMRazor 0.x and 1.x


def read_checkpoint(source: str) -> dict:
    """Loads a checkpoint onto the CPU.

    Args:
        source: path or URL, see `find_checkpoint`.

    Raises:
        FileNotFoundError: if the file does not exist or cannot be downloaded.
        ImportError: if it is a file of safetensors, which is not installed.
        ValueError: if the file is not a checkpoint, or is truncated.
    """
    if source.endswith('.safetensors'):
        return _read_safetensors(find_checkpoint(source))
    try:
        checkpoint = CheckpointLoader.load_checkpoint(find_checkpoint(source), map_location='cpu')
    except FileNotFoundError:
        if '://' in source:  # the error of a failed download already says what to do
            raise
        raise FileNotFoundError(f'no checkpoint {source}: give the path of a .pth file, or a URL') from None
    if not isinstance(checkpoint, dict):
        raise ValueError(f'{source} holds a {type(checkpoint).__name__}: expected a dict with the key "state_dict"')
    return checkpoint


def _read_safetensors(path: str) -> dict[str, Tensor]:
    if not osp.isfile(path):
        raise FileNotFoundError(f'no checkpoint {path}: download it, and give the path of the file')
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise ImportError(
            f'{path} is read by the package safetensors, which is not installed: pip install safetensors'
        ) from None
    return load_file(path)


def segmentor_state(checkpoint: dict) -> dict[str, Tensor]:
    """Returns the weights of the plain segmentor: of the student, if the checkpoint is that of a distillation."""
    state = {key.removeprefix('module.'): value for key, value in checkpoint.get('state_dict', checkpoint).items()}
    for prefix in STUDENT:
        student = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
        if student:
            return student
    return state


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
            fitting = [
                key for key, value in own.items() if getattr(state.get(prefix + key), 'shape', None) == value.shape
            ]
            if 2 * len(fitting) < len(own):
                raise ValueError(
                    f'{init["checkpoint"]} holds {len(fitting)} of the {len(own)} weights of {name}, '
                    f'expected at least half; it has {", ".join(list(state)[:3])}, ... Set init_cfg or pretrained to '
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
            f'{len(keys)} {what}: {", ".join(keys[:3])}{", ..." if len(keys) > 3 else ""}'
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
    if broken:
        raise ValueError(
            f'{source} holds NaN or infinity in {len(broken)} of its {len(state)} tensors, first in {broken[0]}: the '
            'training that wrote it had failed. Give an earlier checkpoint, or train again'
        )
