"""The form of an entry, and how it is applied."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True)
class Fix:
    """One change of a dependency.

    Args:
        name: identifies the entry.
        module: the change is made right after this module was imported.
        reason: what is wrong without it.
        affects: the versions with the fault.
        until: when the entry can go.
        needed: given the module, whether the fault is there.
        repair: given the module, makes the change.
    """

    name: str
    module: str
    reason: str
    affects: str
    until: str
    needed: Callable[[ModuleType], bool]
    repair: Callable[[ModuleType], None]


def install(fix: Fix) -> None:
    """Applies a fix when its module is imported; now, if it already was."""

    def after_import(module: ModuleType) -> None:
        if fix.needed(module):
            fix.repair(module)
            logging.getLogger('mmseg_bpkd.compat').debug('%s: %s', fix.name, fix.reason)

    import wrapt  # checked by `check_requirements`, which must come first

    wrapt.register_post_import_hook(after_import, fix.module)
