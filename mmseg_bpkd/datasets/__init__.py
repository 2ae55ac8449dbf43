from .camvid import CamVidDataset
from .sampler import ResumableSampler
from .synthetic import RenderScene, SyntheticScenes
from .transforms import FastPhotoMetricDistortion, FastRandomCrop, LoadCheckedAnnotations, SeedAugmentation

__all__ = [
    'CamVidDataset',
    'FastPhotoMetricDistortion',
    'FastRandomCrop',
    'LoadCheckedAnnotations',
    'RenderScene',
    'ResumableSampler',
    'SeedAugmentation',
    'SyntheticScenes',
]
