from .afdcd import DenseContrastiveLoss
from .aicsd import InterClassLoss
from .apd import AdaptivePerspectiveLoss
from .at import AttentionTransferLoss
from .base import DistillLoss
from .bpkd import BPKDLoss
from .cirkd import CrossImageLoss
from .cwd import ChannelWiseFeatureLoss, ChannelWiseLoss
from .dist import PearsonLoss
from .fitnet import FitNetLoss
from .ifvd import IntraClassLoss
from .kd import PixelWiseLoss
from .kt_channel import KTChannelLoss
from .local_affinity import LocalAffinityLoss
from .mgd import MaskedGenerativeLoss
from .nfd import NormalizedFeatureLoss
from .skds import AdversarialLoss, PairWiseLoss
from .wavelet import WaveletLoss

__all__ = [
    'AdaptivePerspectiveLoss',
    'AdversarialLoss',
    'AttentionTransferLoss',
    'BPKDLoss',
    'ChannelWiseFeatureLoss',
    'ChannelWiseLoss',
    'CrossImageLoss',
    'DenseContrastiveLoss',
    'DistillLoss',
    'FitNetLoss',
    'InterClassLoss',
    'IntraClassLoss',
    'KTChannelLoss',
    'LocalAffinityLoss',
    'MaskedGenerativeLoss',
    'NormalizedFeatureLoss',
    'PairWiseLoss',
    'PearsonLoss',
    'PixelWiseLoss',
    'WaveletLoss',
]
