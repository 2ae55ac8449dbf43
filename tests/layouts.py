"""Tiny copies of real data sets: their folders, names, formats and label values; the pictures are colored blocks.

Each function writes `images` images per split, of `size` (width, height), and returns the data root. Every label holds
every value that the real labels have, void included.
"""

import json
import math
import os
import os.path as osp
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

Size = tuple[int, int]
COLORS = np.random.default_rng(0).integers(30, 225, (256, 3))


def blocks(seed: int, values: Sequence[int], size: Size) -> np.ndarray:
    """A label (height, width) uint8 of blocks, in which every value occurs."""
    width, height = size
    rows = min(height, math.ceil(math.sqrt(len(values) * height / width)))
    columns = math.ceil(len(values) / rows)
    assert columns <= width, f'{len(values)} values do not fit into {size}'
    cells = np.resize(np.random.default_rng(seed).permutation(values), (rows, columns))
    return cells[np.arange(height)[:, None] * rows // height, np.arange(width) * columns // width].astype(np.uint8)


def picture(seed: int, label: np.ndarray) -> Image.Image:
    """An image that shows its label, with noise."""
    noise = np.random.default_rng(seed).integers(-30, 31, (*label.shape, 3))
    return Image.fromarray((COLORS[label] + noise).astype(np.uint8))


def save(image, *path: str) -> None:
    os.makedirs(osp.dirname(osp.join(*path)), exist_ok=True)
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(osp.join(*path))


def cityscapes(folder: str, images: int = 3, size: Size = (64, 32)) -> str:
    """leftImg8bit and gtFine, converted: labelTrainIds beside labelIds, colors and polygons."""
    root = osp.join(folder, 'cityscapes')
    for split, city, start in (('train', 'aachen', 0), ('val', 'lindau', 10**6)):
        for i in range(images):
            stem, seed = f'{city}_{i:06d}_000019', start + i
            label = blocks(seed, [*range(19), 255], size)
            save(picture(seed, label), root, 'leftImg8bit', split, city, f'{stem}_leftImg8bit.png')
            fine = osp.join(root, 'gtFine', split, city, f'{stem}_gtFine')
            save(label, f'{fine}_labelTrainIds.png')
            save(blocks(seed, range(34), size), f'{fine}_labelIds.png')
            save(COLORS[label].astype(np.uint8), f'{fine}_color.png')
            with open(f'{fine}_polygons.json', 'w') as file:
                json.dump(dict(imgHeight=size[1], imgWidth=size[0], objects=[]), file)
    return root


def ade20k(folder: str, images: int = 3, size: Size = (64, 48)) -> str:
    """ADEChallengeData2016: 0 is void, 1 to 150 are the classes."""
    root = osp.join(folder, 'ADEChallengeData2016')
    for split, name, start in (('training', 'train', 0), ('validation', 'val', 10**6)):
        for i in range(images):
            label = blocks(start + i, range(151), size)
            save(picture(start + i, label), root, 'images', split, f'ADE_{name}_{i + 1:08d}.jpg')
            save(label, root, 'annotations', split, f'ADE_{name}_{i + 1:08d}.png')
    return root


def pascal_context(folder: str, images: int = 3, size: Size = (64, 48)) -> str:
    """VOC2010, converted: 0 is void, 1 to 59 are the classes. As in VOC, there are images that no list names."""
    root = osp.join(folder, 'VOCdevkit/VOC2010')
    os.makedirs(osp.join(root, 'ImageSets/SegmentationContext'))
    for split, year in (('train', 2008), ('val', 2009), (None, 2010)):
        stems = [f'{year}_{i + 1:06d}' for i in range(images)]
        for i, stem in enumerate(stems):
            label = blocks(10**6 * year + i, range(60), size)
            save(picture(10**6 * year + i, label), root, 'JPEGImages', f'{stem}.jpg')
            if split:
                save(label, root, 'SegmentationClassContext', f'{stem}.png')
        if split:
            with open(osp.join(root, f'ImageSets/SegmentationContext/{split}.txt'), 'w') as file:
                file.writelines(f'{stem}\n' for stem in stems)
    return root


def pascal_voc(folder: str, images: int = 3, size: Size = (64, 48)) -> str:
    """VOC2012 with SBD: labels have a palette, 0 to 20 are the classes, 255 is void."""
    root = osp.join(folder, 'VOCdevkit/VOC2012')
    os.makedirs(osp.join(root, 'ImageSets/Segmentation'))
    for split, year, labels in (('train', 2007, ''), ('aug', 2008, 'Aug'), ('val', 2009, '')):
        stems = [f'{year}_{i + 1:06d}' for i in range(images)]
        for i, stem in enumerate(stems):
            label = blocks(10**6 * year + i, [*range(21), 255], size)
            save(picture(10**6 * year + i, label), root, 'JPEGImages', f'{stem}.jpg')
            with_palette = Image.fromarray(label)
            with_palette.putpalette(COLORS.astype(np.uint8).tobytes())
            save(with_palette, root, f'SegmentationClass{labels}', f'{stem}.png')
        with open(osp.join(root, f'ImageSets/Segmentation/{split}.txt'), 'w') as file:
            file.writelines(f'{stem}\n' for stem in stems)
    return root


def camvid(folder: str, images: int = 3, size: Size = (48, 36)) -> str:
    """As tools/dataset_converters/camvid.py writes it: 0 to 10 are the classes, 255 is void."""
    root = osp.join(folder, 'camvid')
    for split, film, start in (('train', '0001TP', 0), ('val', '0016E5', 10**6)):
        for i in range(images):
            label = blocks(start + i, [*range(11), 255], size)
            save(picture(start + i, label), root, 'images', split, f'{film}_{i:06d}.png')
            save(label, root, 'annotations', split, f'{film}_{i:06d}.png')
    return root


LAYOUTS = dict(cityscapes=cityscapes, ade20k=ade20k, pascal_context=pascal_context, camvid=camvid)
BASES = dict(
    cityscapes='cityscapes_512x1024',
    ade20k='ade20k_512x512',
    pascal_context='pascal_context_59_480x480',
    camvid='camvid_360x360',
)  # files of configs/_base_/datasets


def data_root_options(root: str) -> list:
    """For --cfg-options."""
    return [f'{loader}_dataloader.dataset.data_root={root}' for loader in ('train', 'val', 'test')]


def own(
    folder: str, images: Sequence[np.ndarray], labels: Sequence[np.ndarray], classes: Sequence[str], **load
) -> dict:
    """Writes images and labels as PNGs of a data set of one's own, and returns a config with it as `train_dataloader`.

    Args:
        load: arguments of `LoadCheckedAnnotations`.
    """
    for kind, arrays in (('images', images), ('labels', labels)):
        os.makedirs(osp.join(folder, kind), exist_ok=True)
        for i, array in enumerate(arrays):
            assert cv2.imwrite(osp.join(folder, kind, f'{i}.png'), array[..., ::-1] if array.ndim == 3 else array)
    dataset = dict(
        type='BaseSegDataset',
        data_root=folder,
        data_prefix=dict(img_path='images', seg_map_path='labels'),
        img_suffix='.png',
        metainfo=dict(classes=list(classes), palette=[[0, 64 * i, 0] for i in range(len(classes))]),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadCheckedAnnotations', num_classes=len(classes), **load),
        ],
    )
    return dict(default_scope='mmseg', train_dataloader=dict(dataset=dataset))
