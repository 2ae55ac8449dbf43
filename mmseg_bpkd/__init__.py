"""Boundary-privileged knowledge distillation (arXiv 2306.08075) for MMSegmentation 1.x and MMRazor 1.x.

`import mmseg_bpkd.engine` registers its models, losses, data sets, metrics and hooks in MMEngine's root registries.
The names of `__all__` are the public interface. They are imported when they are used, so that `import mmseg_bpkd` is
cheap.
"""

from importlib import import_module

from .compat import apply

apply()

__version__ = '0.1.0'

_HOME = {
    'models.losses': (
        'AICSDLoss',
        'APDLoss',
        'ATLoss',
        'AfDCDLoss',
        'BPKDLoss',
        'CIRKDLoss',
        'CWDFeatureLoss',
        'CWDLoss',
        'DISTLoss',
        'DistillLoss',
        'FitNetLoss',
        'IFVDLoss',
        'KDLoss',
        'KTLoss',
        'LocalAffinityLoss',
        'MGDLoss',
        'NFDLoss',
        'SKDSCriticLoss',
        'SKDSPairLoss',
        'WaveletLoss',
    ),
    'models.algorithms': ('SegDistill',),
    'models.distillers': ('SegDistiller',),
    'evaluation': ('BoundaryIoU', 'SegIoU', 'TrimapIoU'),
    'evaluation.evaluate': ('evaluate',),
    'ops.boundary': ('boundary_band', 'edge_masks'),
    'deploy.student': ('export_student',),
    'deploy.onnx': ('export_onnx',),
    'deploy.predict': ('Predictor',),
}
__all__ = [name for names in _HOME.values() for name in names]


def __getattr__(name: str) -> object:
    home = next((home for home, names in _HOME.items() if name in names), None)
    if home is None:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{home}'), name)
