"""What a Runner needs: importing this package registers models, losses, data sets, metrics, hooks and optimizers."""

from mmseg_bpkd import datasets, evaluation  # noqa: F401
from mmseg_bpkd.models import algorithms, backbones, distillers, losses, segmentors  # noqa: F401

from . import devices, hooks, optim  # noqa: F401
