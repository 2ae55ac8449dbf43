"""Ways to break a dataset of `layouts`, and the message that `tools/check_dataset.py` must give for each.

ERRORS and WARNINGS: {case: (layout, function that breaks it, config options, regular expression of the message)}.
"""

import os
import os.path as osp
import shutil
from glob import glob

import layouts
import numpy as np
from PIL import Image


def files(root: str, pattern: str) -> list[str]:
    """Sorted paths that match a pattern, at least one."""
    found = sorted(glob(osp.join(root, pattern), recursive=True))
    assert found, f'nothing matches {pattern} in {root}'
    return found


def relabel(root: str, pattern: str, change) -> None:
    """Replaces each matching label by `change(label)`."""
    for path in files(root, pattern):
        layouts.save(change(np.array(Image.open(path))), path)


def remove(*patterns: str):
    """Deletes all matching files and folders."""

    def apply(root: str) -> None:
        for pattern in patterns:
            for path in files(root, pattern):
                (shutil.rmtree if osp.isdir(path) else os.remove)(path)

    return apply


def empty(folder: str):
    """Deletes everything in a folder."""

    def apply(root: str) -> None:
        shutil.rmtree(osp.join(root, folder))
        os.makedirs(osp.join(root, folder))

    return apply


def cut(pattern: str, keep: float):
    """Truncates the first matching file to the fraction `keep` of its bytes."""

    def apply(root: str) -> None:
        path = files(root, pattern)[0]
        os.truncate(path, int(keep * osp.getsize(path)))

    return apply


def rename(pattern: str, old: str, new: str):
    """Replaces the suffix `old` of all matching files by `new`."""

    def apply(root: str) -> None:
        for path in files(root, pattern):
            os.rename(path, path.removesuffix(old) + new)

    return apply


def change_labels(pattern: str, change):
    return lambda root: relabel(root, pattern, change)


def change_first_label(pattern: str, change):
    return lambda root: relabel(root, osp.relpath(files(root, pattern)[0], root), change)


def halve(label: np.ndarray) -> np.ndarray:
    return label[::2, ::2]


def replace_train_ids_by_label_ids(root: str) -> None:
    for path in files(root, 'gtFine/train/**/*_labelIds.png'):
        os.replace(path, path.replace('_labelIds', '_labelTrainIds'))


def replace_image_by_web_page(root: str) -> None:
    with open(files(root, 'images/training/*')[0], 'w') as file:
        file.write('<html>404</html>')


def list_a_missing_image(root: str) -> None:
    with open(osp.join(root, 'ImageSets/SegmentationContext/val.txt'), 'a') as file:
        file.write('2010_999999\n')


def copy_training_image_to_validation(root: str) -> None:
    """Replaces a validation image and its label by those of a training image, but keeps the names."""
    for kind, folder in (('images', 'images'), ('annotations', 'annotations')):
        shutil.copy(files(root, f'{kind}/train/*')[1], files(root, f'{folder}/val/*')[0])


def replace_folder_by_broken_link(folder: str):
    """The link points to a disk that is not mounted."""

    def change(root: str) -> None:
        shutil.rmtree(osp.join(root, folder))
        os.symlink('/not-mounted/data', osp.join(root, folder))

    return change


def replace_files_by_broken_links(pattern: str):
    def change(root: str) -> None:
        for path in files(root, pattern):
            os.remove(path)
            os.symlink(f'/not-mounted/{osp.basename(path)}', path)

    return change


def change_list(change):
    """Replaces the lines of the training list by `change(lines)`."""

    def rewrite(root: str) -> None:
        path = osp.join(root, 'ImageSets/SegmentationContext/train.txt')
        with open(path) as file:
            lines = file.read().splitlines()
        with open(path, 'w') as file:
            file.write('\n'.join(change(lines)) + '\n')

    return rewrite


def save_labels_as_jpeg(root: str) -> None:
    """Keeps the suffix .png."""
    for path in files(root, 'annotations/train/*'):
        Image.open(path).save(path, format='JPEG', quality=100)


def crop_image_to_three_rows(root: str) -> None:
    """Crops the first training image and its label."""
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
        r"train, val: data_root is '.*camvid', but .*camvid does not exist \(.* contains .*"
        r'docs/data.md .* --cfg-options train_dataloader.dataset.data_root=PATH',
    ),
    'no image folder': (
        'cityscapes',
        remove('leftImg8bit/train'),
        [],
        r'train: the image folder .*leftImg8bit/train does not exist \(.*leftImg8bit contains val\): see docs/data.md',
    ),
    'image folder is a broken link': (
        'camvid',
        replace_folder_by_broken_link('images/train'),
        TRAIN_ONLY,
        r'train: the image folder .*images/train is a link to /not-mounted/data, which does not exist \(',
    ),
    'images are broken links': (
        'ade20k',
        replace_files_by_broken_links('images/training/*'),
        TRAIN_ONLY,
        r'train: the image folder .*images/training contains broken links: ADE_train_00000001.jpg, .*; mount the disk',
    ),
    'list with suffixes': (
        'pascal_context',
        change_list(lambda lines: [f'{line}.jpg' for line in lines]),
        TRAIN_ONLY,
        r'train: 3 images listed in .*train.txt not found .*2008_000001.jpg.jpg.*; '
        r'line 1 of the list has a suffix, expected the name',
    ),
    'list with a byte order mark': (
        'pascal_context',
        change_list(lambda lines: ['\ufeff' + lines[0], *lines[1:]]),
        TRAIN_ONLY,
        r'train: 1 image listed in .*; line 1 of the list starts with a byte order mark, expected the name',
    ),
    'list with labels for images': (
        'pascal_context',
        change_list(lambda lines: [lines[0], *(f'{line}  1' for line in lines[1:])]),
        TRAIN_ONLY,
        r'train: 2 images listed in .*; line 2 of the list contains whitespace, expected the name',
    ),
    'labels are JPEGs': (
        'camvid',
        save_labels_as_jpeg,
        TRAIN_ONLY,
        r'train: 3 of 3 labels read from .*annotations/train cannot be used: .*\(a JPEG: lossy compression changes',
    ),
    'only one class': (
        'cityscapes',
        change_labels('gtFine/train/*/*_labelTrainIds.png', np.zeros_like),
        TRAIN_ONLY,
        r'train: road is the only class in all 3 labels read, expected several classes: the labels may be binary masks',
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
        r'val: the label folder .*annotations/val does not exist \(.*annotations contains train\)',
    ),
    'empty label folder': (
        'ade20k',
        empty('annotations/validation'),
        [],
        'val: the label folder .*annotations/validation is empty',
    ),
    'not converted by the Detail API': (
        'pascal_context',
        remove('SegmentationClassContext', 'ImageSets/SegmentationContext/train.txt'),
        TRAIN_ONLY,
        r'train: the label folder .*SegmentationClassContext does not exist, the list of images '
        r'.*SegmentationContext/train.txt \(ann_file\) does not exist \(.*VOC2010.* contains ImageSets, JPEGImages\)',
    ),
    'no list of images': (
        'pascal_context',
        remove('ImageSets/SegmentationContext/val.txt'),
        [],
        r'val: the list of images .*SegmentationContext/val.txt \(ann_file\) does not exist \(.* contains train.txt\)',
    ),
    'empty list of images': (
        'pascal_context',
        cut('ImageSets/SegmentationContext/train.txt', 0),
        [],
        r'train: the list of images .*train.txt \(ann_file\) is empty',
    ),
    'listed image missing': (
        'pascal_context',
        list_a_missing_image,
        ['num_images.val=4'],
        r'val: 1 image listed in .*val.txt not found in .*JPEGImages: 2010_999999.jpg; copy or download',
    ),
    'images with another suffix': (
        'ade20k',
        rename('images/training/*', '.jpg', '.jpeg'),
        [],
        r'train: no file in the image folder .*images/training ends with .jpg; the files end with .jpeg \(3\): '
        r'see docs/data.md',
    ),
    'images of another format': (
        'camvid',
        rename('images/val/*', '.png', '.tif'),
        [],
        r'val: CamVidDataset cannot list its images \(no .png and no .jpg files in .*\); .* end with .tif \(3\)',
    ),
    'labels not converted': (
        'cityscapes',
        remove('gtFine/*/*/*_labelTrainIds.png'),
        TRAIN_ONLY,
        r'train: no file in the label folder .*gtFine/train ends with _gtFine_labelTrainIds.png; the files end with '
        r'_gtFine_\w+.\w+ \(3\), _gtFine_\w+.\w+ \(3\), _gtFine_\w+.\w+ \(3\): '
        r'see docs/data.md .* the command that converts',
    ),
    'too few images': (
        'ade20k',
        remove('*/training/*1.*'),
        [],
        r'train: 2 images in .*images/training, expected 3 as published; complete the copy, or .* num_images.train=2',
    ),
    'image missing, label present': (
        'ade20k',
        remove('images/training/*1.jpg'),
        [],
        r'train: 2 images in .*, expected 3 as published; 1 label without image: ADE_train_00000001.png; complete',
    ),
    'one extra image': (
        'camvid',
        lambda root: shutil.copy(files(root, 'images/val/*')[0], osp.join(root, 'images/val/copy.png')),
        [],
        r'val: 4 images in .*, expected 3 as published; 1 image without label: copy.png; remove the extra',
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
        r'val: 1 of 3 images read from .* cannot be used: ADE_val_00000001.jpg \(.*truncated.*\); copy or',
    ),
    'empty image': (
        'ade20k',
        cut('images/validation/*', 0),
        [],
        r'val: 1 of 3 images read from .* cannot be used: ADE_val_00000001.jpg \(0 bytes\)',
    ),
    'image is a web page': (
        'ade20k',
        replace_image_by_web_page,
        [],
        r'train: 1 of 3 images read from .* cannot be used: ADE_train_00000001.jpg \(not an image file\)',
    ),
    'truncated label': (
        'cityscapes',
        cut('gtFine/train/aachen/*_labelTrainIds.png', 0.7),
        [],
        r'train: 1 of 3 labels read from .*gtFine/train cannot be used: aachen/aachen_000000_.*png \(.*trunc.*\)',
    ),
    'empty label': (
        'camvid',
        cut('annotations/train/*', 0),
        [],
        r'train: 1 of 3 labels read from .* cannot be used: 0001TP_000000.png \(0 bytes\)',
    ),
    'labels with another size': (
        'ade20k',
        change_labels('annotations/training/*', lambda label: np.pad(label, 1)),
        [],
        r'train: 3 of 3 labels read must have the size of the image: ADE_train_00000001.png 66x50, image 64x48, ',
    ),
    'labelIds of Cityscapes': (
        'cityscapes',
        replace_train_ids_by_label_ids,
        [],
        r'train: values outside the 19 classes in 3 of 3 labels read \(aachen/.*\): 19 to 33, expected 0 to 18, '
        r'or 255 for void; these look like labelIds of Cityscapes, but training needs labelTrainIds: see docs/data.md',
    ),
    'zero label not reduced': (
        'ade20k',
        lambda root: None,
        NO_REDUCTION + TRAIN_ONLY,
        r'train: values outside the 150 classes in 3 of 3 labels read \(.*\): 150, expected 0 to 149, or 255 for '
        r'void; ADE20KDataset is published with 0 for void: set reduce_zero_label=True',
    ),
    'zero label reduced in the pipeline only': (
        'pascal_context',
        lambda root: None,
        [NO_REDUCTION[0]],
        r'train: reduce_zero_label is False in the dataset, but True in LoadCheckedAnnotations: '
        r'set both to the same value',
    ),
    'labels reduced twice': (
        'ade20k',
        change_first_label('annotations/training/*', lambda label: label - 1),
        [],
        r'train: reduce_zero_label=True expects 0 for void, but the labels also contain 255: .* '
        r'class 0 is lost .*; extract the labels again',
    ),
    'void not converted': (
        'camvid',
        change_labels('annotations/*/*', lambda label: np.where(label == 255, 11, label).astype(np.uint8)),
        TRAIN_ONLY,
        r'train: .* 11 classes in 3 of 3 labels .*: 11, expected 0 to 10, or 255 for void; if 11 is void, '
        r"load the labels with dict\(type='LoadCheckedAnnotations', num_classes=11, label_map={11: 255}\); if 0 is ",
    ),
    'labels with 16 bits': (
        'camvid',
        change_first_label('annotations/val/*', lambda label: label.astype(np.uint16) + 256),
        [],
        r'val: values outside the 11 classes in 1 of 3 labels read \(0016E5_000000.png\): 256 to 266, 511, expected',
    ),
    'labels in color': (
        'ade20k',
        change_labels('annotations/training/*', lambda label: layouts.COLORS[label].astype(np.uint8)),
        [],
        r'train: 3 of 3 labels read from .* must have one channel of class indices, .* got a color image: '
        r'ADE_train_00000001.png, ',
    ),
    'only void': (
        'pascal_context',
        change_labels('SegmentationClassContext/2009*', np.zeros_like),
        [],
        r'val: only void in the 3 labels read: 0, expected 1 to 59, or 0 for void; see docs',
    ),
    'validation image in the training set': (
        'camvid',
        copy_training_image_to_validation,
        [],
        r'val: 1 image of .*images/val is also in the training set, byte for byte: 0016E5_000000.png \(in training: '
        r'.*0001TP_000001.png\)',
    ),
    'validation on the training set': (
        'pascal_context',
        lambda root: None,
        ['val_dataloader.dataset.ann_file=ImageSets/SegmentationContext/train.txt', 'test_dataloader=None'],
        r'val: 3 images of .*JPEGImages are also in the training set, byte for byte: 2008_000001.jpg, 2008_000002.jpg',
    ),
    'another number of classes': (
        'camvid',
        lambda root: None,
        ['train_dataloader.dataset.pipeline.2.num_classes=12'],
        r'train: num_classes is 12 in the pipeline, but CamVidDataset has 11 classes: set num_classes to 11',
    ),
    'unknown dataset': (
        'camvid',
        lambda root: None,
        ['train_dataloader.dataset.type=CamDataset'],
        r'train: CamDataset cannot be built \(KeyError: .*CamDataset.*\): check train_dataloader.dataset in the config',
    ),
}
WARNINGS = {
    'label without image': (
        'camvid',
        remove('images/val/*1.png'),
        ['num_images.val=2'],
        r'val: 1 label without image in .*images/val: 0016E5_000001.png; not used in training, check',
    ),
    'class that never occurs': (
        'cityscapes',
        change_labels(
            'gtFine/train/*/*_labelTrainIds.png', lambda label: np.where(label == 16, 13, label).astype(np.uint8)
        ),
        [],
        r'train: 1 of 19 classes not found in the 3 labels read, of 3: train; a network cannot learn them$',
    ),
    'mostly void': (
        'camvid',
        change_labels(
            'annotations/train/*', lambda label: np.where(np.arange(label.shape[1]) % 8, 255, label).astype(np.uint8)
        ),
        [],
        r'train: \d\d % of the pixels of the 3 labels read are void, expected at most 50 %: .* 0 to 10, '
        r'or 255 for void',
    ),
    'image smaller than the crop': (
        'camvid',
        crop_image_to_three_rows,
        [],
        r'train: the crop, 360x360 .*, does not fit into 1 of 3 images read, .* largest training scale: '
        r'0001TP_000000.png; ',
    ),
    'zero label not reduced, class 150 absent': (
        'ade20k',
        change_labels('annotations/*/*', lambda label: label % 150),
        NO_REDUCTION,
        r'train, val: reduce_zero_label is False, but ADE20KDataset is published with 0 for void: .* shifted by one',
    ),
}
