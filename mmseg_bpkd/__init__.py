"""Boundary-privileged knowledge distillation (arXiv 2306.08075) for MMSegmentation 1.x and MMRazor 1.x.

Importing the package registers its models, losses, data sets, metrics and hooks in MMEngine's root registries.
"""

from . import compat

compat.apply()

from . import algorithms, backbones, datasets, distillers, hooks, losses, metrics, optim  # noqa: E402,F401

__version__ = '0.1.0'
