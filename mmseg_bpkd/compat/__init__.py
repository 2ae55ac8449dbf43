"""What is wrong with the dependencies, and what is done about it.

The tables of the modules list every change, with its reason and how one sees that it is still needed:

* `imports`: packages that cannot be imported as they are;
* `mmengine_fixes`, `mmseg_fixes`, `mmrazor_fixes`: faults of the frameworks;
* `loading`: types that checkpoints of MMEngine hold, for safe loading;
* `policy`: files that are refused, and errors that say what to do. MMSEG_BPKD_TRUST_FILES=1 switches these off.

A fix is applied right after the module that it changes was imported, and only if its fault is there. So `import
mmseg_bpkd` costs little, and a healthy installation is not changed. Nothing else in this package patches a dependency,
except that `SaveOnSignalHook` replaces what data loader workers do first.
"""

import os

from . import imports, loading, mmengine_fixes, mmrazor_fixes, mmseg_fixes, policy
from .requirements import check_requirements
from .table import Fix, install

__all__ = ['FIXES', 'Fix', 'apply']

FIXES = (
    *imports.FIXES,
    *loading.FIXES,
    *mmengine_fixes.FIXES,
    *mmseg_fixes.FIXES,
    *mmrazor_fixes.FIXES,
    *policy.FIXES,
)
_installed: set[str] = set()


def apply(without: str = '') -> None:
    """Checks the installation, and arranges that each fix is applied when its module is imported.

    A second call does nothing.

    Args:
        without: the name of a fix to leave out, for tests.

    Raises:
        ImportError: if a package is missing or does not load; it says what to install.
    """
    check_requirements()
    trusted = os.environ.get('MMSEG_BPKD_TRUST_FILES') == '1'
    for fix in FIXES:
        if fix.name not in (without, *_installed) and not (trusted and fix in policy.FIXES):
            _installed.add(fix.name)
            install(fix)
