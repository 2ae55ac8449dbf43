"""Faults of MMRazor."""

import functools
import sys
import types
from types import ModuleType

from .table import Fix


def leaves_inplace_on(base: ModuleType) -> bool:
    from torch import nn

    probe = types.SimpleNamespace(architecture=nn.Sequential(nn.ReLU(inplace=True)))
    probe.architecture.inplace = True
    probe.set_module_inplace_false = functools.partial(base.BaseAlgorithm.set_module_inplace_false, probe)
    probe.set_module_inplace_false(probe.architecture, 'self.architecture')
    return probe.architecture[0].inplace


def turn_inplace_off(base: ModuleType) -> None:
    def set_module_inplace_false(self, architecture, varstr: str) -> None:
        for module in architecture.modules():
            if hasattr(module, 'inplace'):
                module.inplace = False

    base.BaseAlgorithm.set_module_inplace_false = set_module_inplace_false


LIMIT = sys.getrecursionlimit()


def allows_endless_recursion(_: ModuleType) -> bool:
    return sys.getrecursionlimit() > max(LIMIT, 10_000)


def restore_the_limit(_: ModuleType) -> None:
    sys.setrecursionlimit(LIMIT)


FIXES = (
    Fix(
        'inplace off',
        'mmrazor.models.algorithms.base',
        'MMRazor turns inplace off, so that recorders keep what a layer returned. It searches the layers in an '
        'OrderedDict, but Module._modules is a dict: it finds none, and an activation overwrites the record of the '
        'layer before it. With any torch, it leaves out the activation of mmcv.ConvModule',
        'mmrazor 1.0.0 with torch >= 2.13',
        'MMRazor walks modules()',
        leaves_inplace_on,
        turn_inplace_off,
    ),
    Fix(
        'recursion limit',
        'mmrazor.models',
        'importing MMRazor sets the recursion limit to 2^20 for its pruning: with it, deeply nested files and endless '
        'recursions end in a segmentation fault',
        'mmrazor 1.0 with Python < 3.12',
        'MMRazor sets the limit where it prunes',
        allows_endless_recursion,
        restore_the_limit,
    ),
)
