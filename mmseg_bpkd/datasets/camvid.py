"""CamVid, the road scenes of Brostow, Fauqueur and Cipolla (2008), in the version of the SegNet tutorial."""

import os
import os.path as osp

from mmengine.registry import DATASETS
from mmseg.datasets import BaseSegDataset


@DATASETS.register_module()
class CamVidDataset(BaseSegDataset):
    """CamVid with 11 classes: 367 training, 101 validation and 233 test images of 480x360 pixels. Label 255 is void.

    `tools/dataset_converters/camvid.py` creates the expected folders: images/{train,val,test} and
    annotations/{train,val,test}.

    As in `BaseSegDataset`, `ann_file` can name a list of images, one name without suffix per line.

    Args:
        img_suffix: suffix of the image files, '.png' or '.jpg'. None: '.png' if the image folder has any, else '.jpg'.

    Raises:
        FileNotFoundError: if the image folder does not exist. With `img_suffix=None`, also if it has neither .png nor
            .jpg files.
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

    img_suffix: str | None

    def __init__(self, img_suffix: str | None = None, **kwargs) -> None:
        super().__init__(img_suffix=img_suffix, **kwargs)

    def load_data_list(self) -> list:
        folder = self.data_prefix['img_path']
        if not osp.isdir(folder):
            raise FileNotFoundError(
                f'the CamVid image folder {folder} does not exist: correct data_root, or create the folder with '
                'bpkd convert-camvid'
            )
        if self.img_suffix is None:
            self.img_suffix = self._find_suffix(folder)
        return super().load_data_list()

    @staticmethod
    def _find_suffix(folder: str) -> str:
        names = os.listdir(folder)
        for suffix in ('.png', '.jpg'):
            if any(name.endswith(suffix) for name in names):
                return suffix
        raise FileNotFoundError(f'no .png and no .jpg files in the CamVid image folder {folder}: check data_prefix')
