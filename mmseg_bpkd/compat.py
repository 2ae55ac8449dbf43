"""Workarounds for bugs and incompatibilities of the dependencies.

`apply()` runs before the rest of the package is imported. Each repair first checks whether it is needed, so a healthy
installation is not changed, and a second call does nothing.
"""

import functools
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

# Import name -> requirement for pip. Some of them are imported by packages that do not declare them.
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
    """Checks the installation and applies all repairs.

    Raises:
        ImportError: if a package is missing or does not load; it says what to install.
    """
    require_packages()
    require_opencv()
    stand_in_for_mmcv_ops()
    stand_in_for_mmrazor_quantization()
    allow_mmengine_checkpoints()
    mend_downloads()
    repair_class_weights()
    repair_tensor_mode()


def require_packages() -> None:
    """Raises ImportError if packages are missing, with one pip command that installs all of them."""
    missing = [pip for name, pip in REQUIRED.items() if not _installed(name)]
    if missing:
        raise ImportError(f'mmseg_bpkd needs packages that are not installed: pip install {" ".join(missing)}')


def _installed(name: str) -> bool:
    return name in sys.modules or importlib.util.find_spec(name) is not None


def require_opencv() -> None:
    """Raises ImportError if OpenCV does not load, as on a machine without libGL."""
    try:
        importlib.import_module('cv2')
    except ImportError as error:
        raise ImportError(
            f'OpenCV does not load ({error}): pip install --force-reinstall --no-deps opencv-python-headless'
        ) from error


def stand_in_for_mmcv_ops() -> None:
    """Adds a module `mmcv._ext` whose functions raise when they are called, if mmcv-lite is installed.

    mmcv-lite has no compiled operators, but importing mmseg looks up functions in `mmcv._ext`.

    Raises:
        ImportError: if compiled operators are installed but do not load, since they were built for another torch.
    """
    if _installed('mmcv._ext'):
        try:
            importlib.import_module('torch')  # the extension links against it
            importlib.import_module('mmcv._ext')
        except ImportError as error:
            raise ImportError(
                f'the compiled operators of the installed mmcv do not load ({error}): rebuild mmcv for '
                'this torch, or run pip uninstall mmcv && pip install mmcv-lite==2.1.0'
            ) from error
        return

    class MissingOperators(types.ModuleType):
        def __getattr__(self, name: str):
            if name.startswith('__'):
                raise AttributeError(name)

            def missing(*args, **kwargs):
                raise RuntimeError(
                    f'{name} is a compiled operator of mmcv, but mmcv-lite is installed, which has none: '
                    'replace it by mmcv==2.1.0, built with operators'
                )

            return missing

    stand_in = MissingOperators('mmcv._ext', 'Raises when a compiled operator is called.')
    stand_in.__spec__ = ModuleSpec('mmcv._ext', loader=None)  # without a loader, mmengine reports that ops are missing
    sys.modules['mmcv._ext'] = stand_in
    # Otherwise deformable attention calls the compiled operator on a GPU.
    importlib.import_module('mmcv.ops.multi_scale_deform_attn').IS_CUDA_AVAILABLE = False


def stand_in_for_mmrazor_quantization() -> None:
    """Replaces MMRazor's quantization by an empty module if it cannot be imported.

    It imports names that torch >= 2.0 no longer has. The rest of MMRazor works.
    """
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
                raise RuntimeError(
                    'MMRazor 1.0.0 cannot quantize with this version of torch: its quantization needs torch < 2.0'
                )

        inert = types.ModuleType(name, 'Replaces a module that cannot be imported.')
        inert.__all__ = []
        inert.BackendConfigs = {}
        inert.QConfigHandler = QConfigHandler
        sys.modules[name] = inert


def allow_mmengine_checkpoints() -> None:
    """Allows torch >= 2.6 to load the types that mmengine writes into checkpoints. Safe loading stays on."""
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
        raise pickle.UnpicklingError(
            f'the checkpoint reads the attribute {name!r} of {owner!r}, but only min, max, mean and current of '
            'HistoryBuffer are allowed: use a checkpoint that MMEngine wrote'
        )

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
    """Makes mmengine load downloaded checkpoints with `weights_only=True`, and gives better errors.

    `torch.hub` does not load safely by default. The errors say which file to download and where to put it.
    """
    from mmengine.runner import checkpoint

    if checkpoint.load_url.__module__ != __name__:
        checkpoint.load_url = _safe(checkpoint.load_url)


def _safe(load_url: Callable) -> Callable:
    import torch

    def download(url: str, *args, **kwargs):
        cache = osp.join(torch.hub.get_dir(), 'checkpoints', osp.basename(urlparse(url).path))
        try:
            return load_url(url, *args, weights_only=True, **kwargs)
        except (OSError, HTTPException) as error:
            reason = getattr(error, 'reason', error)
            raise FileNotFoundError(
                f'cannot download {url} ({reason}): download it on another machine and copy it to {cache}, or '
                'give the path of a file instead of the URL'
            ) from error
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise ValueError(
                f'cannot read {cache}, from {url}, as a checkpoint: delete it, so that it is downloaded again, or '
                f'replace it by the right file ({error})'
            ) from error

    return download


def repair_class_weights() -> None:
    """Makes MMSegmentation's `cross_entropy` accept class weights together with void labels.

    To average the loss, MMSegmentation 1.2.2 looks up the class weight of every pixel. The void label 255 is out of
    range: this raises an IndexError on a CPU and a device-side assertion on a GPU. The patched function gives void
    pixels the weight 0.
    """
    losses = importlib.import_module('mmseg.models.losses')
    module = importlib.import_module('mmseg.models.losses.cross_entropy_loss')
    original = module.cross_entropy
    if _fails_on_void(original):
        # CrossEntropyLoss looks the name up in its module, other code imports it from the package.
        module.cross_entropy = losses.cross_entropy = _with_weightless_void(original)


def _fails_on_void(cross_entropy: Callable) -> bool:
    import torch

    logits, label = torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1), 255)
    try:
        cross_entropy(logits, label, class_weight=torch.ones(1), ignore_index=255)
    except IndexError:
        return True
    return False


def _with_weightless_void(original: Callable) -> Callable:
    @functools.wraps(original)
    def cross_entropy(
        pred,
        label,
        weight=None,
        class_weight=None,
        reduction='mean',
        avg_factor=None,
        ignore_index=-100,
        avg_non_ignore=False,
    ):
        if class_weight is not None and reduction == 'mean' and avg_factor is None:
            num_classes = len(class_weight)
            if not -num_classes <= ignore_index < num_classes:  # within this range the original finds a weight
                void = label == ignore_index
                avg_factor = class_weight[label.masked_fill(void, 0)].masked_fill(void, 0).sum()
        return original(pred, label, weight, class_weight, reduction, avg_factor, ignore_index, avg_non_ignore)

    return cross_entropy


def repair_tensor_mode() -> None:
    """Makes `mode='tensor'` of segmentors work for PointRend and for mask classifiers.

    MMSegmentation 1.2.2 calls their heads without the arguments that they need. With the repair, PointRend returns the
    logits of the head before `PointHead`, which classifies points only. MaskFormer and Mask2Former return the class
    scores and the masks of all layers of their decoder.
    """
    segmentors = importlib.import_module('mmseg.models.segmentors')
    for segmentor, repaired in (
        (segmentors.EncoderDecoder, _with_data_samples),
        (segmentors.CascadeEncoderDecoder, _without_point_head),
    ):
        if segmentor._forward.__module__ != __name__:
            segmentor._forward = repaired(segmentor._forward)


def _with_data_samples(original: Callable) -> Callable:
    from mmseg.models.decode_heads import Mask2FormerHead, MaskFormerHead
    from mmseg.structures import SegDataSample

    def _forward(self, inputs, data_samples=None):
        if not isinstance(self.decode_head, (MaskFormerHead, Mask2FormerHead)):
            return original(self, inputs, data_samples)
        shape = tuple(inputs.shape[2:])
        samples = [SegDataSample(metainfo=dict(img_shape=shape, batch_input_shape=shape)) for _ in inputs]
        return self.decode_head.forward(self.extract_feat(inputs), samples)

    return _forward


def _without_point_head(original: Callable) -> Callable:
    from mmseg.models.decode_heads import PointHead

    def _forward(self, inputs, data_samples=None):
        first, *later = (head for head in self.decode_head if not isinstance(head, PointHead))
        if len(later) + 1 == len(self.decode_head):
            return original(self, inputs, data_samples)
        features = self.extract_feat(inputs)
        logits = first.forward(features)
        for head in later:
            logits = head.forward(features, logits)
        return logits

    return _forward
