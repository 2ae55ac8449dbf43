"""Packages that cannot be imported as they are."""

import contextlib
import importlib
import io
import sys
import types
from importlib.machinery import ModuleSpec
from types import ModuleType

from .requirements import ONEDL, has_distribution, is_installed
from .table import Fix


def operators_are_missing(mmcv: ModuleType) -> bool:
    """Whether mmcv has no compiled operators.

    Raises:
        ImportError: if they are installed but do not load, since they were built for another torch.
    """
    if not is_installed('mmcv._ext'):
        return True
    try:
        importlib.import_module('torch')  # the extension links against it
        importlib.import_module('mmcv._ext')
    except ImportError as error:
        raise ImportError(
            f'the compiled operators of the installed mmcv do not load ({error}): rebuild mmcv for '
            'this torch, or run pip uninstall mmcv && pip install mmcv-lite==2.1.0 (OneDL: pip install '
            '--force-reinstall --no-deps --no-cache-dir onedl-mmcv)'
        ) from error
    return False


class MissingOperators(types.ModuleType):
    """A module whose functions raise when they are called."""

    def __getattr__(self, name: str):
        if name.startswith('__'):
            raise AttributeError(name)

        def missing(*args, **kwargs):
            raise RuntimeError(
                f'{name} is a compiled operator of mmcv, but the installed mmcv has none: replace mmcv-lite by '
                'mmcv==2.1.0, built with operators, or rebuild onedl-mmcv with pip install --no-build-isolation'
            )

        return missing


def stand_in_for_operators(mmcv: ModuleType) -> None:
    stand_in = MissingOperators('mmcv._ext', 'Raises when a compiled operator is called.')
    stand_in.__spec__ = ModuleSpec('mmcv._ext', loader=None)  # without a loader, mmengine reports that ops are missing
    sys.modules['mmcv._ext'] = stand_in


def has_stand_in(_: ModuleType) -> bool:
    return isinstance(sys.modules.get('mmcv._ext'), MissingOperators)


def use_pytorch_attention(deformable_attention: ModuleType) -> None:
    deformable_attention.IS_CUDA_AVAILABLE = False


def mmrazor_refuses(mmcv: ModuleType) -> bool:
    from mmengine.utils import digit_version

    return 'mmrazor' not in sys.modules and digit_version(mmcv.__version__) > digit_version('2.1.0')


def import_mmrazor(mmcv: ModuleType) -> None:
    version, mmcv.__version__ = mmcv.__version__, '2.1.0'
    try:
        importlib.import_module('mmrazor')
    finally:
        mmcv.__version__ = version


QUANTIZATION = 'mmrazor.structures.quantization'


def quantization_fails(_: ModuleType) -> bool:
    if QUANTIZATION in sys.modules:
        return False
    try:
        importlib.import_module(QUANTIZATION)
    except ImportError:
        for half_imported in [name for name in sys.modules if name.startswith('mmrazor.structures')]:
            del sys.modules[half_imported]
        return True
    return False


def stand_in_for_quantization(_: ModuleType) -> None:
    class QConfigHandler:
        def __init__(self, *args, **kwargs):
            raise RuntimeError(
                'MMRazor 1.0.0 cannot quantize with this version of torch: its quantization needs torch < 2.0'
            )

    inert = types.ModuleType(QUANTIZATION, 'Replaces a module that cannot be imported.')
    inert.__all__ = []
    inert.BackendConfigs = {}
    inert.QConfigHandler = QConfigHandler
    sys.modules[QUANTIZATION] = inert


def is_onedl(_: ModuleType) -> bool:
    return has_distribution(ONEDL['mmseg'])


def import_datasets_silently(_: ModuleType) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        importlib.import_module('mmseg.datasets')


FIXES = (
    Fix(
        'operators',
        'mmcv',
        'importing mmseg looks up functions in mmcv._ext, which mmcv-lite does not have, nor an onedl-mmcv that pip '
        'built without torch. The stand-in raises when an operator is called',
        'mmcv-lite 2.1.0; onedl-mmcv without operators',
        'mmseg imports without mmcv._ext',
        operators_are_missing,
        stand_in_for_operators,
    ),
    Fix(
        'deformable attention',
        'mmcv.ops.multi_scale_deform_attn',
        'deformable attention calls the compiled operator on a GPU, also if there is none',
        'mmcv-lite 2.1.0',
        'mmcv checks for the operator',
        has_stand_in,
        use_pytorch_attention,
    ),
    Fix(
        'bound on mmcv',
        'mmcv',
        'MMRazor refuses an mmcv that is newer than 2.1.0 when it is imported',
        'mmrazor 1.0.0 with onedl-mmcv',
        'MMRazor has a release that allows it',
        mmrazor_refuses,
        import_mmrazor,
    ),
    Fix(
        'quantization',
        'mmrazor',
        'importing mmrazor.models fails in its quantization, which uses names that torch no longer has. An empty '
        'module takes its place',
        'mmrazor 1.0.0 with torch >= 2.0',
        'MMRazor has a release for torch >= 2.0',
        quantization_fails,
        stand_in_for_quantization,
    ),
    Fix(
        'silent data sets',
        'mmseg',
        'importing the data sets prints "Could not import OneDL"',
        'onedl-mmsegmentation 1.4.2',
        'OneDL no longer prints it',
        is_onedl,
        import_datasets_silently,
    ),
)
