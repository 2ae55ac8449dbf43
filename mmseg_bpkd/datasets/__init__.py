from .camvid import CamVidDataset
from .sampler import ResumableSampler
from .synthetic import RenderScene, SyntheticScenes
from .transforms import LoadCheckedAnnotations, SeedAugmentation

__all__ = [
    'CamVidDataset', 'LoadCheckedAnnotations', 'RenderScene', 'ResumableSampler', 'SeedAugmentation', 'SyntheticScenes'
]
