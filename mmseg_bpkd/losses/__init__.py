from .afdcd import DenseContrastiveLoss
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
from .local_affinity import LocalAffinityLoss
from .mgd import MaskedGenerativeLoss
from .skds import AdversarialLoss, PairWiseLoss

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
    'IntraClassLoss',
    'LocalAffinityLoss',
    'MaskedGenerativeLoss',
    'PairWiseLoss',
    'PearsonLoss',
    'PixelWiseLoss',
]
