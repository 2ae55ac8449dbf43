"""Write the config for a data set of your own, from its folders.

    bpkd new my_data --images data/images --labels data/labels
    bpkd new my_data --images data/images --labels data/labels --classes road car tree

Both folders have the subfolders train, val and, if there is one, test. A label has the name of its image, and one
channel: 0, 1, 2, ... for the classes, and 255 for void. The files are checked as by `bpkd check`. Says what was found,
and writes two configs to the working directory: my_data_teacher.py trains the teacher, and my_data.py then trains a
student with BPKD.

Exit code: 0 if the configs were written, 1 if the data has errors, 2 if the folders or the name cannot be used.
"""

import argparse
import os
import os.path as osp
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmseg_bpkd.datasets.check import Result

SPLITS = dict(train=('train', 'training'), val=('val', 'valid', 'validation'), test=('test', 'testing'))
VOID = 255
CONFIG = """\
# First `bpkd train {name}_teacher.py`, then `bpkd train {name}.py`. `bpkd check {name}.py` checks all files.
_base_ = 'mmseg_bpkd::_base_/own_data.py'
classes = {classes}  # the names of the labels 0, 1, ...
crop_size = {crop_size}
task = dict(num_classes=len(classes), data_preprocessor=dict(size=crop_size))
teacher = _base_.teacher
model = dict(**task, teacher=teacher, teacher_ckpt='work_dirs/{name}_teacher/iter_20000.pth')
load = [dict(type='LoadImageFromFile'), dict(type='LoadCheckedAnnotations', num_classes=len(classes))]
train_pipeline = [
    dict(type='SeedAugmentation'),
    *load,
    dict(type='RandomResize', scale={scale}, ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='FastRandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='FastPhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [*load, dict(type='PackSegInputs')]
my_data = dict(
    type='BaseSegDataset', data_root={root!r}, metainfo=dict(classes=classes),
    img_suffix={img_suffix!r}, seg_map_suffix={seg_map_suffix!r},
)
train_dataloader = dict(dataset=dict(**my_data, data_prefix={train}, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**my_data, data_prefix={val}, pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(**my_data, data_prefix={test}, pipeline=test_pipeline))
"""
TEACHER = """\
_base_ = '{name}.py'
model = dict(_delete_=True, type='plain_segmentor', **_base_.task, **_base_.teacher)
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('name', metavar='NAME', help='of the config, without .py')
    parser.add_argument('--images', required=True, metavar='FOLDER')
    parser.add_argument('--labels', required=True, metavar='FOLDER')
    parser.add_argument(
        '--classes', nargs='+', metavar='NAME', help='in the order of the label values; default: one per value found'
    )
    parser.add_argument('--seconds', type=float, default=60, help='time limit for decoding files, in seconds')
    parser.add_argument('--workers', type=int, default=os.cpu_count(), help='number of worker processes, or 0')
    args = parser.parse_args(argv)
    if not re.fullmatch(r'[\w-]+', args.name):
        parser.error(f'NAME must consist of letters, digits, - and _, got {args.name!r}')
    for path in (f'{args.name}.py', f'{args.name}_teacher.py'):
        if osp.exists(path):
            parser.error(f'{path} exists: give another NAME')
    try:
        args.prefixes = find_splits(args.images, args.labels)
        args.suffixes = find_suffixes(*args.prefixes['train'].values())
    except FileNotFoundError as error:
        parser.error(str(error))
    return args


def find_splits(images: str, labels: str) -> dict[str, dict[str, str]]:
    """Returns {'train', 'val' and perhaps 'test': `data_prefix` of the data set}.

    Raises:
        FileNotFoundError: if a folder or the split 'train' or 'val' is missing.
    """
    found: dict[str, list[str]] = {}
    for loader, names in SPLITS.items():
        for folder in (images, labels):
            there = sorted(os.listdir(folder)) if osp.isdir(folder) else None
            if there is None:
                raise FileNotFoundError(f'{folder} is not a folder')
            name = next((name for name in names if osp.isdir(osp.join(folder, name))), None)
            if name:
                found.setdefault(loader, []).append(osp.abspath(osp.join(folder, name)))
            elif loader != 'test':
                raise FileNotFoundError(
                    f'{folder} has no subfolder {names[0]}, expected train, val and perhaps test; it contains '
                    f'{", ".join(there[:6]) or "nothing"}{", ..." if len(there) > 6 else ""}'
                )
    # Images of a test without labels are no split: the metrics need labels.
    return {loader: dict(img_path=pair[0], seg_map_path=pair[1]) for loader, pair in found.items() if len(pair) == 2}


def find_suffixes(images: str, labels: str) -> dict[str, str]:
    """Returns `img_suffix` and `seg_map_suffix` of the data set, from the first image that has a label.

    Raises:
        FileNotFoundError: if there is none.
    """
    from mmseg_bpkd.datasets.check.listing import scan

    label_names = scan(labels)
    for image in scan(images):
        stem, suffix = osp.splitext(image)
        label = next((label for label in label_names if label.startswith((f'{stem}.', f'{stem}_'))), None)
        if label:
            return dict(img_suffix=suffix, seg_map_suffix=label.removeprefix(stem))
    raise FileNotFoundError(f'no file in {labels} begins with the name of an image in {images}')


def check(args: argparse.Namespace) -> 'Result':
    """Runs the checks on the data, with a class for each value of a byte."""
    from mmseg_bpkd.datasets.check import check_datasets, splits_of

    data = dict(type='BaseSegDataset', **args.suffixes, metainfo=dict(classes=[str(i) for i in range(VOID)]))
    loaders = {
        f'{loader}_dataloader': dict(dataset=dict(data, data_prefix=prefix)) for loader, prefix in args.prefixes.items()
    }
    return check_datasets(splits_of(loaders), {}, args.seconds, args.workers)


def class_names(values: list[int], names: list[str] | None) -> tuple[str, ...]:
    """Returns the given names of the classes, or one for each label value up to the largest.

    Args:
        values: those of the labels, without void.

    Raises:
        ValueError: if the values cannot be classes.
    """
    from mmseg_bpkd.datasets.labels import format_values

    count = len(names) if names else values[-1] + 1
    if values[-1] >= count:
        raise ValueError(f'the labels have the values {format_values(values)}, but --classes names {count} classes')
    if len(values) < 2 or 2 * len(values) < count:
        raise ValueError(
            f'the labels have the values {format_values(values)} and perhaps {VOID} for void, expected 0, 1, 2, ... '
            f'for at least two classes: convert the labels, void to {VOID}; if most classes are absent, name all with '
            '--classes'
        )
    return tuple(names or (f'class {value}' for value in range(count)))


def describe_image(path: str, size: tuple[int, int]) -> str:
    from PIL import Image

    with Image.open(path) as image:
        channels = len(image.getbands())
    loaded = '' if channels == 3 else ', loaded as three'
    return f'images: {size[0]}x{size[1]} (width x height, median), {channels} channel(s){loaded}'


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    import numpy as np
    from mmengine.registry import init_default_scope

    from mmseg_bpkd.config.errors import short_errors
    from mmseg_bpkd.datasets.labels import format_values
    from mmseg_bpkd.fileio.writing import write_text

    init_default_scope('mmseg')
    result = check(args)
    for finding in result.findings.of('error'):
        print(finding)
    if result.exit_code:
        return result.exit_code
    summaries = list(result.summaries.values())
    values = np.sum([summary.pixels for summary in summaries], axis=0).nonzero()[0].tolist()
    with short_errors(None, ValueError):
        classes = class_names(values, args.classes)
    sizes = [size for summary in summaries for size, count in summary.sizes.items() for _ in range(count)]
    width, height = np.median(sizes, axis=0).astype(int).tolist()
    crop_size = tuple(max(32, min(512, extent) // 32 * 32) for extent in (height, width))
    for split in result.splits:
        print(f'{split.name}: {len(split.pairs)} images in {split.places.images}')
    void = sum(summary.void for summary in summaries)
    print(f'classes: {len(classes)}, from the label values {format_values(values)}')
    print(f'void: {VOID}' if void else 'void: none')
    print(describe_image(result.splits[0].pairs[0].image, (width, height)))
    print(f'crop: {crop_size[1]}x{crop_size[0]}')
    prefixes = {'test': args.prefixes['val'], **args.prefixes}
    root = osp.commonpath([path for prefix in prefixes.values() for path in prefix.values()])
    relative = {
        loader: 'dict({})'.format(', '.join(f'{key}={osp.relpath(path, root)!r}' for key, path in prefix.items()))
        for loader, prefix in prefixes.items()
    }
    settings = dict(classes=classes, crop_size=crop_size, scale=(width, height), root=root, **args.suffixes)
    for path, text in ((f'{args.name}.py', CONFIG), (f'{args.name}_teacher.py', TEACHER)):
        with short_errors(None, OSError):
            write_text(path, text.format(name=args.name, **settings, **relative))
        print(f'wrote {path}')
    return 0
