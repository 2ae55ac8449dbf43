from .afdcd import AfDCDLoss
from .aicsd import AICSDLoss
from .apd import APDLoss
from .at import ATLoss
from .base import DistillLoss
from .bpkd import BPKDLoss
from .cirkd import CIRKDLoss
from .cwd import CWDFeatureLoss, CWDLoss
from .dist import DISTLoss
from .fitnet import FitNetLoss
from .ifvd import IFVDLoss
from .kd import KDLoss
from .kt_channel import KTLoss
from .local_affinity import LocalAffinityLoss
from .mgd import MGDLoss
from .nfd import NFDLoss
from .skds import SKDSCriticLoss, SKDSPairLoss
from .wavelet import WaveletLoss

__all__ = [
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
]
