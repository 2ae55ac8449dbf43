from .bpkd import BPKDLoss
from .channel_wise import ChannelWiseFeatureLoss, ChannelWiseLoss
from .pixel_wise import PixelWiseLoss

__all__ = ['BPKDLoss', 'ChannelWiseFeatureLoss', 'ChannelWiseLoss', 'PixelWiseLoss']
