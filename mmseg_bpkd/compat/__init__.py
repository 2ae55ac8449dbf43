"""Workarounds for bugs and incompatibilities of the dependencies: OpenMMLab's releases, and OneDL's fork of them.

`apply()` runs before the rest of the package is imported. Each repair first checks whether it is needed, so a healthy
installation is not changed, and a second call does nothing.
"""

import contextlib
import functools
import importlib
import importlib.util
import io
import os.path as osp
import pickle
import sys
import types
import zipfile
from http.client import HTTPException
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, distribution
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
ONEDL = {'mmengine': 'onedl-mmengine', 'mmcv': 'onedl-mmcv', 'mmseg': 'onedl-mmsegmentation'}  # the same import names


def apply() -> None:
    """Checks the installation and applies all repairs.

    Raises:
        ImportError: if a package is missing or does not load; it says what to install.
    """
    require_packages()
    require_one_upstream()
    require_opencv()
    resolve_onedl_configs()
    lift_bound_of_mmrazor()
    stand_in_for_mmcv_ops()
    import_onedl_datasets_silently()
    stand_in_for_mmrazor_quantization()
    allow_mmengine_checkpoints()
    keep_loading_safe()
    mend_downloads()
    mend_local_files()
    disarm_resuming()
    repair_class_weights()
    repair_binary_cross_entropy()
    repair_binary_accuracy()
    register_configs()
    repair_inplace_off()
    name_channel_conversion()


def require_packages() -> None:
    """Raises ImportError if packages are missing, with one pip command that installs all of them."""
    required = REQUIRED | ONEDL if any(map(_has_distribution, ONEDL.values())) else REQUIRED
    missing = [pip for name, pip in required.items() if not _installed(name)]
    if missing:
        raise ImportError(f'mmseg_bpkd needs packages that are not installed: pip install {" ".join(missing)}')


def _installed(name: str) -> bool:
    return name in sys.modules or importlib.util.find_spec(name) is not None


def _has_distribution(name: str) -> bool:
    try:
        return bool(distribution(name))
    except PackageNotFoundError:
        return False


def require_one_upstream() -> None:
    """Raises ImportError if packages of OpenMMLab and of OneDL are installed together: they overwrite each other."""
    openmmlab = [name for name in ('mmengine', 'mmcv', 'mmcv-lite', 'mmsegmentation') if _has_distribution(name)]
    onedl = [name for name in ONEDL.values() if _has_distribution(name)]
    if openmmlab and onedl:
        both = ' '.join(openmmlab + onedl)
        raise ImportError(
            f'packages of OpenMMLab ({", ".join(openmmlab)}) and of OneDL ({", ".join(onedl)}) are installed, which '
            f'own the same folders: pip uninstall {both}, then install one of the extras: mmseg_bpkd[lite] or '
            'mmseg_bpkd[onedl]'
        )


def require_opencv() -> None:
    """Raises ImportError if OpenCV does not load, as on a machine without libGL."""
    try:
        importlib.import_module('cv2')
    except ImportError as error:
        raise ImportError(
            f'OpenCV does not load ({error}): pip install --force-reinstall --no-deps opencv-python-headless'
        ) from error


def resolve_onedl_configs() -> None:
    """Makes `mmseg::path` name a config of OneDL's MMSegmentation, if that is installed.

    OneDL's MMEngine looks for OpenMMLab's distribution.
    """
    from mmengine.config.utils import MODULE2PACKAGE

    if _has_distribution(ONEDL['mmseg']):
        MODULE2PACKAGE['mmseg'] = ONEDL['mmseg']


def lift_bound_of_mmrazor() -> None:
    """Imports MMRazor with an mmcv that is newer than 2.1.0.

    MMRazor 1.0.0 refuses them when it is imported, since they did not exist when it was released.
    """
    if 'mmrazor' in sys.modules:
        return
    mmcv, utils = importlib.import_module('mmcv'), importlib.import_module('mmengine.utils')
    version = mmcv.__version__
    if utils.digit_version(version) > utils.digit_version('2.1.0'):
        mmcv.__version__ = '2.1.0'
    try:
        importlib.import_module('mmrazor')
    finally:
        mmcv.__version__ = version


def import_onedl_datasets_silently() -> None:
    """Keeps OneDL's MMSegmentation from printing "Could not import OneDL" when its data sets are imported."""
    if _has_distribution(ONEDL['mmseg']):
        with contextlib.redirect_stdout(io.StringIO()):
            importlib.import_module('mmseg.datasets')


def stand_in_for_mmcv_ops() -> None:
    """Adds a module `mmcv._ext` whose functions raise when they are called, if mmcv has no compiled operators.

    mmcv-lite has none, nor has an onedl-mmcv that pip built without torch. But importing mmseg looks up functions in
    `mmcv._ext`.

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
                'this torch, or run pip uninstall mmcv && pip install mmcv-lite==2.1.0 (OneDL: pip install '
                '--force-reinstall --no-deps --no-cache-dir onedl-mmcv)'
            ) from error
        return

    class MissingOperators(types.ModuleType):
        def __getattr__(self, name: str):
            if name.startswith('__'):
                raise AttributeError(name)

            def missing(*args, **kwargs):
                raise RuntimeError(
                    f'{name} is a compiled operator of mmcv, but the installed mmcv has none: replace mmcv-lite by '
                    'mmcv==2.1.0, built with operators, or rebuild onedl-mmcv with pip install --no-build-isolation'
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


def keep_loading_safe() -> None:
    """Keeps OneDL's MMEngine from loading a checkpoint unsafely.

    When `torch.load` refuses a checkpoint, OneDL's MMEngine 0.10.12 loads it again with `weights_only=False`, which can
    run code. It also allows the real `getattr`.
    """
    from mmengine.runner import checkpoint

    if not hasattr(checkpoint, '_safe_torch_load') or checkpoint._safe_torch_load.__module__ == __name__:
        return

    def _safe_torch_load(file, map_location=None, weights_only=None):
        import torch

        return torch.load(file, map_location=map_location, weights_only=True)

    checkpoint._safe_torch_load = _safe_torch_load


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
                'give the path of a file instead of the URL. If these are the ImageNet weights that a student starts '
                'from, it can also start from random weights: tools/train.py --from-scratch'
            ) from error
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise ValueError(
                f'cannot read {cache}, from {url}, as a checkpoint: delete it, so that it is downloaded again, or '
                f'replace it by the right file ({error})'
            ) from error

    return download


def mend_local_files() -> None:
    """Makes mmengine name a local file that it cannot read as a checkpoint, and refuse compressed ones.

    `torch.save` does not compress. A compressed file can be much larger in memory than on the disk.
    """
    from mmengine.runner import CheckpointLoader

    loader = CheckpointLoader._schemes['']
    if loader.__module__ == 'mmengine.runner.checkpoint':
        CheckpointLoader.register_scheme('', _naming_the_file(loader), force=True)


def _naming_the_file(load_from_local: Callable) -> Callable:
    @functools.wraps(load_from_local)
    def load(filename: str, map_location=None):
        try:
            if zipfile.is_zipfile(filename):
                with zipfile.ZipFile(filename) as archive:
                    if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                        raise ValueError('it is compressed')
            return load_from_local(filename, map_location)
        except FileNotFoundError:
            raise
        except Exception as error:  # a damaged file can raise anything
            raise ValueError(
                f'cannot read the checkpoint {filename}: it is truncated, or holds objects that torch.load refuses '
                f'with weights_only=True. Copy or download it again, or use another checkpoint ({error})'
            ) from error

    load.__module__ = __name__
    return load


def disarm_resuming() -> None:
    """Keeps mmengine from running a config that is stored in a checkpoint.

    `Runner.resume` executes the text under `meta.config`, if there is one, as Python. Checkpoints of mmengine 0.10 have
    their config under another name.
    """
    from mmengine.runner import Runner

    if Runner.load_checkpoint.__module__ != __name__:
        Runner.load_checkpoint = _without_config(Runner.load_checkpoint)


def _without_config(load_checkpoint: Callable) -> Callable:
    @functools.wraps(load_checkpoint)
    def load(*args, **kwargs):
        checkpoint = load_checkpoint(*args, **kwargs)
        checkpoint.get('meta', {}).pop('config', None)
        return checkpoint

    load.__module__ = __name__
    return load


def repair_class_weights() -> None:
    """Makes MMSegmentation's `cross_entropy` accept class weights together with void labels.

    To average the loss, MMSegmentation 1.2.2 looks up the class weight of every pixel. The void label 255 is out of
    range: this raises an IndexError on a CPU and a device-side assertion on a GPU. OneDL's MMSegmentation 1.4.2 raises
    an IndexError with `avg_non_ignore`. The patched function gives void pixels the weight 0.
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
        cross_entropy(logits, label, class_weight=torch.ones(1), ignore_index=255, avg_non_ignore=True)
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
            # Within this range the original finds a weight, and counts it unless `avg_non_ignore`.
            if avg_non_ignore or not -num_classes <= ignore_index < num_classes:
                void = label == ignore_index
                avg_factor = class_weight[label.masked_fill(void, 0)].masked_fill(void, 0).sum()
        return original(pred, label, weight, class_weight, reduction, avg_factor, ignore_index, avg_non_ignore)

    return cross_entropy


def repair_binary_cross_entropy() -> None:
    """Makes MMSegmentation's `binary_cross_entropy` accept a batch of void pixels only, for a head with one channel.

    To check the label, MMSegmentation 1.2.2 takes the maximum of the labels that are not void, which fails if there
    are none. The loss of such a batch is 0.
    """
    module = importlib.import_module('mmseg.models.losses.cross_entropy_loss')
    losses = importlib.import_module('mmseg.models.losses')
    original = module.binary_cross_entropy
    if _fails_on_void_only(original):
        module.binary_cross_entropy = losses.binary_cross_entropy = _with_zero_for_void_only(original)


def _fails_on_void_only(binary_cross_entropy: Callable) -> bool:
    import torch

    try:
        binary_cross_entropy(torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1), 255), ignore_index=255)
    except RuntimeError:
        return True
    return False


def _with_zero_for_void_only(original: Callable) -> Callable:
    @functools.wraps(original)
    def binary_cross_entropy(
        pred,
        label,
        weight=None,
        reduction='mean',
        avg_factor=None,
        class_weight=None,
        ignore_index=-100,
        avg_non_ignore=False,
        **kwargs,
    ):
        if pred.size(1) == 1 and not (label != ignore_index).any():
            zeros = 0 * pred.squeeze(1)
            return zeros if reduction == 'none' else zeros.sum()
        return original(
            pred, label, weight, reduction, avg_factor, class_weight, ignore_index, avg_non_ignore, **kwargs
        )

    return binary_cross_entropy


def repair_binary_accuracy() -> None:
    """Makes `acc_seg`, which MMSegmentation's heads log, the accuracy of a head with one channel.

    MMSegmentation 1.2.2 takes the largest of the channels, and logs the share of class 0 if there is only one. The
    patched function compares the probability with 0.5, whatever the threshold of the head.
    """
    import torch

    original = importlib.import_module('mmseg.models.losses').accuracy
    if original(torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, dtype=torch.long)) > 50:
        return

    @functools.wraps(original)
    def accuracy(pred, *args, **kwargs):
        return original(torch.cat([-pred, pred], 1) if pred.size(1) == 1 else pred, *args, **kwargs)

    for name, module in list(sys.modules.items()):  # the heads import the function by name
        if name.startswith('mmseg.models') and getattr(module, 'accuracy', None) is original:
            module.accuracy = accuracy


def register_configs() -> None:
    """Makes `mmseg_bpkd::path` in the `_base_` of a config name a config of this package.

    MMEngine accepts the names of OpenMMLab's packages only, and looks in the folder of the installed distribution,
    which an editable install does not have. It would also build what comes from such a base in a scope `mmseg_bpkd`,
    where nothing is registered: this package registers its parts in the root registries.
    """
    from mmengine.config import Config
    from mmengine.config.utils import MODULE2PACKAGE

    package = __name__.split('.')[0]
    if package in MODULE2PACKAGE:
        return
    MODULE2PACKAGE[package] = package  # for mmengine.hub
    original = Config._get_cfg_path

    def get_cfg_path(cfg_path: str, filename: str):
        if not cfg_path.startswith(f'{package}::'):
            return original(cfg_path, filename)
        from mmseg_bpkd.fileio.package_files import find_config

        path = find_config(cfg_path)
        if not osp.isfile(path):
            raise FileNotFoundError(f'{filename}: _base_ names {cfg_path}, but there is no config {path}')
        return path, None

    Config._get_cfg_path = staticmethod(get_cfg_path)


def name_channel_conversion() -> None:
    """Gives OneDL's `SegDataPreProcessor` the attribute `channel_conversion`, which it calls `_channel_conversion`."""
    from mmseg.models import SegDataPreProcessor

    if not hasattr(SegDataPreProcessor(), 'channel_conversion'):
        SegDataPreProcessor.channel_conversion = property(lambda self: self._channel_conversion)


def repair_inplace_off() -> None:
    """Makes MMRazor turn `inplace` off in every layer of teacher and student.

    Otherwise an activation overwrites what a recorder of the layer before it has kept. MMRazor 1.0.0 searches the
    layers in an `OrderedDict`. In torch 2.13, `Module._modules` is a dict, so that it finds none. With any torch, it
    leaves out the activation of mmcv's `ConvModule`, which has an attribute `inplace` of its own.
    """
    from mmrazor.models.algorithms import BaseAlgorithm

    if _leaves_inplace_on(BaseAlgorithm.set_module_inplace_false):
        BaseAlgorithm.set_module_inplace_false = _turn_inplace_off


def _leaves_inplace_on(set_module_inplace_false: Callable) -> bool:
    from torch import nn

    probe = types.SimpleNamespace(architecture=nn.Sequential(nn.ReLU(inplace=True)))
    probe.architecture.inplace = True
    probe.set_module_inplace_false = functools.partial(set_module_inplace_false, probe)
    probe.set_module_inplace_false(probe.architecture, 'self.architecture')
    return probe.architecture[0].inplace


def _turn_inplace_off(self, architecture, varstr: str) -> None:
    for module in architecture.modules():
        if hasattr(module, 'inplace'):
            module.inplace = False
