from .efficientnet_lite import EfficientNetLite
from .vit_adapter import ViTAdapter

__all__ = ['EfficientNetLite', 'ViTAdapter']
