"""CamVid road scenes (Brostow, Fauqueur, Cipolla 2008) in the 480x360, 11-class split of the SegNet tutorial."""

import os.path as osp
from typing import Optional

from mmengine.registry import DATASETS
from mmseg.datasets import BaseSegDataset


@DATASETS.register_module()
class CamVidDataset(BaseSegDataset):
    """367 training, 101 validation and 233 test images; label 255 is void.

    `tools/dataset_converters/camvid.py` makes the layout that `data_prefix` names: images/{train,val,test} and
    annotations/{train,val,test}.

    Args:
        img_suffix: '.png', '.jpg', or None for whichever the image folder has.
    """

    METAINFO = dict(
        classes=(
            'sky',
            'building',
            'pole',
            'road',
            'pavement',
            'tree',
            'sign symbol',
            'fence',
            'car',
            'pedestrian',
            'bicyclist',
        ),
        palette=[
            [128, 128, 128],
            [128, 0, 0],
            [192, 192, 128],
            [128, 64, 128],
            [60, 40, 222],
            [128, 128, 0],
            [192, 128, 128],
            [64, 64, 128],
            [64, 0, 128],
            [64, 64, 0],
            [0, 128, 192],
        ],
    )

    def __init__(self, img_suffix: Optional[str] = None, **kwargs) -> None:
        super().__init__(img_suffix=img_suffix, **kwargs)

    def load_data_list(self) -> list:
        folder = self.data_prefix['img_path']
        if not osp.isdir(folder):
            raise FileNotFoundError(f'CamVid images: no folder {folder}')
        if self.img_suffix is not None:
            return super().load_data_list()
        for self.img_suffix in ('.png', '.jpg'):
            data_list = super().load_data_list()
            if data_list:
                return data_list
        raise FileNotFoundError(f'CamVid images: no .png and no .jpg in {folder}')
