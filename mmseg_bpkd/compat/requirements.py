"""Which packages must be there, and which must not be there together."""

import importlib
import importlib.util
import sys
from importlib.metadata import PackageNotFoundError, distribution

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
    'wrapt': 'wrapt',
}
ONEDL = {'mmengine': 'onedl-mmengine', 'mmcv': 'onedl-mmcv', 'mmseg': 'onedl-mmsegmentation'}  # the same import names


def check_requirements() -> None:
    """Checks the installation without importing the large packages.

    Raises:
        ImportError: if a package is missing or does not load; it says what to install.
    """
    require_packages()
    require_one_upstream()
    require_opencv()


def require_packages() -> None:
    """Raises ImportError if packages are missing, with one pip command that installs all of them."""
    required = REQUIRED | ONEDL if any(map(has_distribution, ONEDL.values())) else REQUIRED
    missing = [pip for name, pip in required.items() if not is_installed(name)]
    if missing:
        raise ImportError(f'mmseg_bpkd needs packages that are not installed: pip install {" ".join(missing)}')


def is_installed(name: str) -> bool:
    return name in sys.modules or importlib.util.find_spec(name) is not None


def has_distribution(name: str) -> bool:
    try:
        return bool(distribution(name))
    except PackageNotFoundError:
        return False


def require_one_upstream() -> None:
    """Raises ImportError if packages of OpenMMLab and of OneDL are installed together: they overwrite each other."""
    openmmlab = [name for name in ('mmengine', 'mmcv', 'mmcv-lite', 'mmsegmentation') if has_distribution(name)]
    onedl = [name for name in ONEDL.values() if has_distribution(name)]
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
