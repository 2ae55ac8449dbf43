"""Everything this project knows about what is broken in the packages below it.

`apply()` runs once, before anything else is imported. Each repair first asks whether the thing is
broken, so a healthy installation is left alone, and running it twice changes nothing.
"""

import importlib
import importlib.util
import os.path as osp
import pickle
import sys
import types
from http.client import HTTPException
from importlib.machinery import ModuleSpec
from typing import Callable
from urllib.parse import urlparse

# Import name -> what pip calls it. Some are not declared by the packages that import them.
REQUIRED = {
    'torch': 'torch',
    'pkg_resources': '"setuptools<81"',  # mmengine imports it; setuptools 81 dropped it
    'mmengine': 'mmengine',
    'cv2': 'opencv-python',
    'mmcv': 'mmcv-lite==2.1.0',
    'mmseg': 'mmsegmentation',
    'ftfy': 'ftfy',
    'regex': 'regex',
    'mmrazor': 'mmrazor',
    'joblib': 'joblib',
}


def apply() -> None:
    require_packages()
    require_opencv()
    stand_in_for_mmcv_ops()
    stand_in_for_mmrazor_quantization()
    allow_mmengine_checkpoints()
    mend_downloads()


def require_packages() -> None:
    """Raises: ImportError with the one command that installs all that is missing."""
    missing = [pip for name, pip in REQUIRED.items() if not _installed(name)]
    if missing:
        raise ImportError(f'mmseg_bpkd needs packages that are not installed: pip install {" ".join(missing)}')


def _installed(name: str) -> bool:
    return name in sys.modules or importlib.util.find_spec(name) is not None


def require_opencv() -> None:
    """Raises: ImportError saying what to install on a machine without libGL."""
    try:
        importlib.import_module('cv2')
    except ImportError as error:
        raise ImportError(
            f'OpenCV does not load ({error}): pip install --force-reinstall --no-deps opencv-python-headless'
        ) from error


def stand_in_for_mmcv_ops() -> None:
    """mmcv-lite has no compiled `mmcv._ext`, yet importing mmseg looks its functions up.

    Raises: ImportError if compiled operators are there but do not load (built for another torch).
    """
    if _installed('mmcv._ext'):
        try:
            importlib.import_module('torch')  # the extension links against it
            importlib.import_module('mmcv._ext')
        except ImportError as error:
            raise ImportError(
                f'the compiled operators of the installed mmcv do not load ({error}): rebuild mmcv for '
                'this torch, or pip uninstall mmcv && pip install mmcv-lite==2.1.0'
            ) from error
        return

    class MissingOperators(types.ModuleType):
        def __getattr__(self, name: str):
            if name.startswith('__'):
                raise AttributeError(name)

            def missing(*args, **kwargs):
                raise RuntimeError(
                    f'{name} is a compiled operator of mmcv, and mmcv-lite is installed: '
                    'install mmcv==2.1.0 built with its operators to use it'
                )

            return missing

    stand_in = MissingOperators('mmcv._ext', 'Raises when a compiled operator is called.')
    stand_in.__spec__ = ModuleSpec('mmcv._ext', loader=None)  # without a loader: mmengine sees that there are no ops
    sys.modules['mmcv._ext'] = stand_in
    # Deformable attention in PyTorch on a GPU, too.
    importlib.import_module('mmcv.ops.multi_scale_deform_attn').IS_CUDA_AVAILABLE = False


def stand_in_for_mmrazor_quantization() -> None:
    """MMRazor's quantization imports names that torch >= 2.0 no longer has; the rest of MMRazor works."""
    name = 'mmrazor.structures.quantization'
    if name in sys.modules:
        return
    try:
        importlib.import_module(name)
    except ImportError:
        for half_imported in [m for m in sys.modules if m.startswith('mmrazor.structures')]:
            del sys.modules[half_imported]

        class QConfigHandler:
            def __init__(self, *args, **kwargs):
                raise RuntimeError('MMRazor 1.0.0 cannot quantize with this version of torch')

        inert = types.ModuleType(name, 'Takes the place of what does not import.')
        inert.__all__ = []
        inert.BackendConfigs = {}
        inert.QConfigHandler = QConfigHandler
        sys.modules[name] = inert


def allow_mmengine_checkpoints() -> None:
    """Let torch >= 2.6 load what mmengine writes into a checkpoint, without turning safe loading off."""
    import numpy as np
    import torch
    from mmengine.logging import HistoryBuffer
    from mmengine.utils import digit_version

    if digit_version(torch.__version__) < digit_version('2.6'):
        return

    statistics = {'min', 'max', 'mean', 'current'}

    def history_getattr(owner, name):
        if owner is HistoryBuffer and name in statistics:
            return getattr(owner, name)
        raise pickle.UnpicklingError(f'a checkpoint may look up only the statistics of HistoryBuffer, not {name!r}')

    multiarray = importlib.import_module('numpy._core.multiarray' if hasattr(np, '_core') else 'numpy.core.multiarray')
    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            (history_getattr, 'builtins.getattr'),
            np.ndarray,
            np.dtype,
            (multiarray._reconstruct, 'numpy.core.multiarray._reconstruct'),
            (multiarray._reconstruct, 'numpy._core.multiarray._reconstruct'),
            (multiarray.scalar, 'numpy.core.multiarray.scalar'),
            (multiarray.scalar, 'numpy._core.multiarray.scalar'),
            *{type(np.dtype(kind)) for kind in ('bool', 'int32', 'int64', 'uint8', 'float32', 'float64')},
        ]
    )


def mend_downloads() -> None:
    """`torch.hub` still unpickles whatever an address delivers: mmengine gets the limits of `torch.load`.

    And where a download fails, mmengine tells the reason only: here, also which file to put where.
    """
    from mmengine.runner import checkpoint

    if checkpoint.load_url.__module__ != __name__:
        checkpoint.load_url = _mended(checkpoint.load_url)


def _mended(load_url: Callable) -> Callable:
    import torch

    def download(url: str, *args, **kwargs):
        cache = osp.join(torch.hub.get_dir(), 'checkpoints', osp.basename(urlparse(url).path))
        try:
            return load_url(url, *args, weights_only=True, **kwargs)
        except (OSError, HTTPException) as error:
            reason = getattr(error, 'reason', error)
            raise FileNotFoundError(
                f'cannot download {url} ({reason}): fetch it elsewhere and put it at {cache}, or '
                'give the path of a file in place of the address'
            ) from error
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise ValueError(
                f'{cache}, from {url}, is no readable checkpoint: delete it, or put the right file there ({error})'
            ) from error

    return download
