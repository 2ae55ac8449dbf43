"""Ways to break a copy of `layouts`, and the sentence that `tools/check_dataset.py` should have for each.

ERRORS and WARNINGS: {state: (layout, what breaks it, options of the config, the sentence as a regular expression)}.
"""

import os
import os.path as osp
import shutil
from glob import glob
from typing import List

import layouts
import numpy as np
from PIL import Image


def files(root: str, pattern: str) -> List[str]:
    found = sorted(glob(osp.join(root, pattern), recursive=True))
    assert found, f'nothing matches {pattern} in {root}'
    return found


def relabel(root: str, pattern: str, change) -> None:
    """Writes `change(label)` in place of every label."""
    for path in files(root, pattern):
        layouts.save(change(np.array(Image.open(path))), path)


def remove(*patterns: str):
    def apply(root: str) -> None:
        for pattern in patterns:
            for path in files(root, pattern):
                (shutil.rmtree if osp.isdir(path) else os.remove)(path)

    return apply


def empty(folder: str):
    def apply(root: str) -> None:
        shutil.rmtree(osp.join(root, folder))
        os.makedirs(osp.join(root, folder))

    return apply


def cut(pattern: str, keep: float):
    """Leaves a share of the first file's bytes."""

    def apply(root: str) -> None:
        path = files(root, pattern)[0]
        os.truncate(path, int(keep * osp.getsize(path)))

    return apply


def rename(pattern: str, old: str, new: str):
    def apply(root: str) -> None:
        for path in files(root, pattern):
            os.rename(path, path.removesuffix(old) + new)

    return apply


def with_labels(pattern: str, change):
    return lambda root: relabel(root, pattern, change)


def first_label(pattern: str, change):
    return lambda root: relabel(root, osp.relpath(files(root, pattern)[0], root), change)


def halve(label: np.ndarray) -> np.ndarray:
    return label[::2, ::2]


def label_ids_for_train_ids(root: str) -> None:
    for path in files(root, 'gtFine/train/**/*_labelIds.png'):
        os.replace(path, path.replace('_labelIds', '_labelTrainIds'))


def web_page_for_an_image(root: str) -> None:
    with open(files(root, 'images/training/*')[0], 'w') as file:
        file.write('<html>404</html>')


def list_an_image_that_is_not_there(root: str) -> None:
    with open(osp.join(root, 'ImageSets/SegmentationContext/val.txt'), 'a') as file:
        file.write('2010_999999\n')


def validate_on_a_training_image(root: str) -> None:
    """Under another name."""
    for kind, folder in (('images', 'images'), ('annotations', 'annotations')):
        shutil.copy(files(root, f'{kind}/train/*')[1], files(root, f'{folder}/val/*')[0])


def lead_nowhere(folder: str):
    """Puts a link to a disk that is not mounted in place of a folder."""

    def change(root: str) -> None:
        shutil.rmtree(osp.join(root, folder))
        os.symlink('/not-mounted/data', osp.join(root, folder))

    return change


def dead_links_for_files(pattern: str):
    def change(root: str) -> None:
        for path in files(root, pattern):
            os.remove(path)
            os.symlink(f'/not-mounted/{osp.basename(path)}', path)

    return change


def relist(change):
    """Rewrites the training list, line by line."""

    def rewrite(root: str) -> None:
        path = osp.join(root, 'ImageSets/SegmentationContext/train.txt')
        with open(path) as file:
            lines = file.read().splitlines()
        with open(path, 'w') as file:
            file.write('\n'.join(change(lines)) + '\n')

    return rewrite


def compress_labels(root: str) -> None:
    for path in files(root, 'annotations/train/*'):
        Image.open(path).save(path, format='JPEG', quality=100)


def thin_image(root: str) -> None:
    for kind in ('images', 'annotations'):
        path = files(root, f'{kind}/train/*')[0]
        layouts.save(np.array(Image.open(path))[:3], path)


TRAIN_ONLY = ['val_dataloader=None', 'test_dataloader=None']
NO_REDUCTION = [
    f'{loader}_dataloader.dataset.{key}=False'
    for loader in ('train', 'val', 'test')
    for key in ('reduce_zero_label', 'pipeline.2.reduce_zero_label')
]
ERRORS = {
    'no data root': (
        'camvid',
        remove(''),
        [],
        r"train, val: data_root is '.*camvid', but .*camvid is not there \(.* holds .*"
        r'docs/data.md .* --cfg-options train_dataloader.dataset.data_root=PATH',
    ),
    'no image folder': (
        'cityscapes',
        remove('leftImg8bit/train'),
        [],
        r'train: the image folder .*leftImg8bit/train is not there \(.*leftImg8bit holds val\): docs/data.md',
    ),
    'link to a disk that is not mounted': (
        'camvid',
        lead_nowhere('images/train'),
        TRAIN_ONLY,
        r'train: the image folder .*images/train is a link to /not-mounted/data, which is not there \(',
    ),
    'links to files that are not there': (
        'ade20k',
        dead_links_for_files('images/training/*'),
        TRAIN_ONLY,
        r'train: .*images/training holds links to files that are not there: ADE_train_00000001.jpg, .*; mount what',
    ),
    'list with endings': (
        'pascal_context',
        relist(lambda lines: [f'{line}.jpg' for line in lines]),
        TRAIN_ONLY,
        r'train: 3 images listed in .*train.txt not there .*2008_000001.jpg.jpg.*; line 1 of the list has an ending',
    ),
    'list with a byte order mark': (
        'pascal_context',
        relist(lambda lines: ['\ufeff' + lines[0], *lines[1:]]),
        TRAIN_ONLY,
        r'train: 1 image listed in .*; line 1 of the list begins with a byte order mark, expected the name',
    ),
    'list with labels for images': (
        'pascal_context',
        relist(lambda lines: [lines[0], *(f'{line}  1' for line in lines[1:])]),
        TRAIN_ONLY,
        r'train: 2 images listed in .*; line 2 of the list holds more than a name, expected the name',
    ),
    'labels are JPEGs': (
        'camvid',
        compress_labels,
        TRAIN_ONLY,
        r'train: 3 labels of 3 read cannot be used in .*annotations/train: .*\(a JPEG: compression changes',
    ),
    'one class everywhere': (
        'cityscapes',
        with_labels('gtFine/train/*/*_labelTrainIds.png', np.zeros_like),
        TRAIN_ONLY,
        r'train: road is the only class in all of the 3 labels read: are these masks of one thing\?',
    ),
    'empty image folder': (
        'ade20k',
        empty('images/training'),
        [],
        'train: the image folder .*images/training is empty',
    ),
    'no label folder': (
        'camvid',
        remove('annotations/val'),
        [],
        r'val: the label folder .*annotations/val is not there \(.*annotations holds train\)',
    ),
    'empty label folder': (
        'ade20k',
        empty('annotations/validation'),
        [],
        'val: the label folder .*annotations/validation is empty',
    ),
    'not converted by detail': (
        'pascal_context',
        remove('SegmentationClassContext', 'ImageSets/SegmentationContext/train.txt'),
        TRAIN_ONLY,
        r'train: the label folder .*SegmentationClassContext is not there, the list of images '
        r'.*SegmentationContext/train.txt \(ann_file\) is not there \(.*VOC2010.* holds ImageSets, JPEGImages\)',
    ),
    'no list of images': (
        'pascal_context',
        remove('ImageSets/SegmentationContext/val.txt'),
        [],
        r'val: the list of images .*SegmentationContext/val.txt \(ann_file\) is not there \(.* holds train.txt\)',
    ),
    'empty list of images': (
        'pascal_context',
        cut('ImageSets/SegmentationContext/train.txt', 0),
        [],
        r'train: the list of images .*train.txt \(ann_file\) is empty',
    ),
    'listed image not there': (
        'pascal_context',
        list_an_image_that_is_not_there,
        ['num_images.val=4'],
        r'val: 1 image listed in .*val.txt not there in .*JPEGImages: 2010_999999.jpg; copy or download',
    ),
    'images of another ending': (
        'ade20k',
        rename('images/training/*', '.jpg', '.jpeg'),
        [],
        r'train: no file in the image folder .*images/training ends with .jpg; they end with .jpeg \(3\): docs',
    ),
    'images of another format': (
        'camvid',
        rename('images/val/*', '.png', '.tif'),
        [],
        r'val: CamVidDataset cannot list its images \(.*no .png and no .jpg in .*\); .* end with .tif \(3\)',
    ),
    'labels not converted': (
        'cityscapes',
        remove('gtFine/*/*/*_labelTrainIds.png'),
        TRAIN_ONLY,
        r'train: no file in the label folder .*gtFine/train ends with _gtFine_labelTrainIds.png; they end with '
        r'_gtFine_\w+.\w+ \(3\), _gtFine_\w+.\w+ \(3\), _gtFine_\w+.\w+ \(3\): docs/data.md .* which command converts',
    ),
    'too few images': (
        'ade20k',
        remove('*/training/*1.*'),
        [],
        r'train: 2 images in .*images/training, but 3 are published; complete the copy; only if .* num_images.train=2',
    ),
    'image gone, label still there': (
        'ade20k',
        remove('images/training/*1.jpg'),
        [],
        r'train: 2 images in .*, but 3 are published; 1 label without image: ADE_train_00000001.png; complete',
    ),
    'image too many': (
        'camvid',
        lambda root: shutil.copy(files(root, 'images/val/*')[0], osp.join(root, 'images/val/copy.png')),
        [],
        r'val: 4 images in .*, but 3 are published; 1 image without label: copy.png; ',
    ),
    'image without label': (
        'cityscapes',
        remove('gtFine/val/lindau/*_000001_*_labelTrainIds.png'),
        [],
        r'val: 1 image without label: lindau/lindau_000001_000019_leftImg8bit.png, expected .*gtFine/val/lindau/'
        r'lindau_000001_000019_gtFine_labelTrainIds.png for the first',
    ),
    'truncated image': (
        'ade20k',
        cut('images/validation/*', 0.8),
        [],
        r'val: 1 image of 3 read cannot be used in .*: ADE_val_00000001.jpg \(.*truncated.*\); copy or',
    ),
    'image without bytes': (
        'ade20k',
        cut('images/validation/*', 0),
        [],
        r'val: 1 image of 3 read cannot be used in .*: ADE_val_00000001.jpg \(0 bytes\)',
    ),
    'web page for an image': (
        'ade20k',
        web_page_for_an_image,
        [],
        r'train: 1 image of 3 read cannot be used in .*: ADE_train_00000001.jpg \(not an image file\)',
    ),
    'truncated label': (
        'cityscapes',
        cut('gtFine/train/aachen/*_labelTrainIds.png', 0.7),
        [],
        r'train: 1 label of 3 read cannot be used in .*gtFine/train: aachen/aachen_000000_.*png \(.*trunc.*\)',
    ),
    'label without bytes': (
        'camvid',
        cut('annotations/train/*', 0),
        [],
        r'train: 1 label of 3 read cannot be used in .*: 0001TP_000000.png \(0 bytes\)',
    ),
    'labels of another size': (
        'ade20k',
        with_labels('annotations/training/*', lambda label: np.pad(label, 1)),
        [],
        r'train: 3 labels of 3 read of another size than the image: ADE_train_00000001.png 66x50, image 64x48, ',
    ),
    'labelIds of Cityscapes': (
        'cityscapes',
        label_ids_for_train_ids,
        [],
        r'train: 3 labels of 3 read with values outside of the 19 classes \(aachen/.*\): 19 to 33, expected 0 to 18, '
        r'or 255 for void; these look like labelIds of Cityscapes, training needs labelTrainIds: docs/data.md',
    ),
    'zero label not reduced': (
        'ade20k',
        lambda root: None,
        NO_REDUCTION + TRAIN_ONLY,
        r'train: 3 labels of 3 read with values outside of the 150 classes \(.*\): 150, expected 0 to 149, or 255 for '
        r'void; ADE20KDataset is published with 0 for void: set reduce_zero_label=True',
    ),
    'zero label reduced in the pipeline only': (
        'pascal_context',
        lambda root: None,
        [NO_REDUCTION[0]],
        r'train: reduce_zero_label is False for the data set, but True in LoadCheckedAnnotations: labels cannot',
    ),
    'labels reduced twice': (
        'ade20k',
        first_label('annotations/training/*', lambda label: label - 1),
        [],
        r'train: reduce_zero_label takes 0 for void, but the labels hold 255 as well: .* class 0 is lost',
    ),
    'void not converted': (
        'camvid',
        with_labels('annotations/*/*', lambda label: np.where(label == 255, 11, label).astype(np.uint8)),
        TRAIN_ONLY,
        r'train: 3 labels of 3 .* 11 classes .*: 11, expected 0 to 10, or 255 for void; if 11 is void, convert it',
    ),
    'labels of more than a byte': (
        'camvid',
        first_label('annotations/val/*', lambda label: label.astype(np.uint16) + 256),
        [],
        r'val: 1 label of 3 read with values outside of the 11 classes \(0016E5_000000.png\): 256 to 266, 511, exp',
    ),
    'labels in colour': (
        'ade20k',
        with_labels('annotations/training/*', lambda label: layouts.COLOURS[label].astype(np.uint8)),
        [],
        r'train: 3 labels of 3 read in colour, expected one channel of class numbers .*: ADE_train_00000001.png, ',
    ),
    'all void': (
        'pascal_context',
        with_labels('SegmentationClassContext/2009*', np.zeros_like),
        [],
        r'val: void everywhere in all of the 3 labels read: 0, expected 1 to 59, or 0 for void; docs',
    ),
    'validation image in the training set': (
        'camvid',
        validate_on_a_training_image,
        [],
        r'val: 1 image of .*images/val is in the training set too, byte for byte: 0016E5_000000.png \(in training: '
        r'.*0001TP_000001.png\)',
    ),
    'validation on the training set': (
        'pascal_context',
        lambda root: None,
        ['val_dataloader.dataset.ann_file=ImageSets/SegmentationContext/train.txt', 'test_dataloader=None'],
        r'val: 3 images of .*JPEGImages are in the training set too, byte for byte: 2008_000001.jpg, 2008_000002.jpg',
    ),
    'another number of classes': (
        'camvid',
        lambda root: None,
        ['train_dataloader.dataset.pipeline.2.num_classes=12'],
        r'train: the pipeline takes labels of 12 classes, but CamVidDataset has 11: set num_classes',
    ),
    'unknown data set': (
        'camvid',
        lambda root: None,
        ['train_dataloader.dataset.type=CamDataset'],
        r'train: CamDataset cannot be built \(KeyError: .*CamDataset.*\): see train_dataloader.dataset in the config',
    ),
}
WARNINGS = {
    'label without image': (
        'camvid',
        remove('images/val/*1.png'),
        ['num_images.val=2'],
        r'val: 1 label without image in .*images/val: 0016E5_000001.png; not used in training',
    ),
    'class that never occurs': (
        'cityscapes',
        with_labels(
            'gtFine/train/*/*_labelTrainIds.png', lambda label: np.where(label == 16, 13, label).astype(np.uint8)
        ),
        [],
        r'train: 1 of 19 classes in none of the 3 labels read of 3: train; a network cannot learn them$',
    ),
    'mostly void': (
        'camvid',
        with_labels(
            'annotations/train/*', lambda label: np.where(np.arange(label.shape[1]) % 8, 255, label).astype(np.uint8)
        ),
        [],
        r'train: \d\d % of the pixels of the 3 labels read are void, more than half: .* 0 to 10, or 255 for void',
    ),
    'image smaller than the crop': (
        'camvid',
        thin_image,
        [],
        r'train: 1 image of 3 read smaller than the crop, 192x192 .* largest scale of training: 0001TP_000000.png; ',
    ),
    'zero label not reduced, class 150 not seen': (
        'ade20k',
        with_labels('annotations/*/*', lambda label: label % 150),
        NO_REDUCTION,
        r'train, val: reduce_zero_label is off, but ADE20KDataset is published with 0 for void: .* shifted by one',
    ),
}
