"""Boundary-privileged knowledge distillation (arXiv 2306.08075) for MMSegmentation 1.x and MMRazor 1.x.

`import mmseg_bpkd.engine` registers its models, losses, data sets, metrics and hooks in MMEngine's root registries.
"""

from .compat import apply

apply()

__version__ = '0.1.0'
