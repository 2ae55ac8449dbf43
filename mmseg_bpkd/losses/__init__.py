from .adaptive_perspective import AdaptivePerspectiveLoss
from .adversarial import AdversarialLoss
from .attention_transfer import AttentionTransferLoss
from .bpkd import BPKDLoss
from .channel_wise import ChannelWiseFeatureLoss, ChannelWiseLoss
from .cross_image import CrossImageLoss
from .dense_contrastive import DenseContrastiveLoss
from .feature_wise import FitNetLoss
from .intra_class import IntraClassLoss
from .local_affinity import LocalAffinityLoss
from .masked_generative import MaskedGenerativeLoss
from .pair_wise import PairWiseLoss
from .pearson import PearsonLoss
from .pixel_wise import PixelWiseLoss

__all__ = [
    'AdaptivePerspectiveLoss',
    'AdversarialLoss',
    'AttentionTransferLoss',
    'BPKDLoss',
    'ChannelWiseFeatureLoss',
    'ChannelWiseLoss',
    'CrossImageLoss',
    'DenseContrastiveLoss',
    'FitNetLoss',
    'IntraClassLoss',
    'LocalAffinityLoss',
    'MaskedGenerativeLoss',
    'PairWiseLoss',
    'PearsonLoss',
    'PixelWiseLoss',
]
