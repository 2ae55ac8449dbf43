"""Predict the classes of the pixels of an image, of the images of a folder, or of the frames of a video.

    python tools/predict.py CONFIG CHECKPOINT photos/ --out predictions
    python tools/predict.py CONFIG CHECKPOINT drive.mp4 --out predictions --beside CONFIG_2 CHECKPOINT_2

writes predictions/labels/NAME.png (the class of each pixel) and predictions/overlays/NAME.png. With `--beside`, it also
writes predictions/compared/NAME.png: image, both predictions, and where they differ (orange within 3 pixels of a
boundary of either, blue elsewhere). CHECKPOINT may be an ONNX file of tools/export_student.py.
"""

import argparse
import os
import os.path as osp
import sys
from typing import Optional

sys.path.insert(0, osp.join(osp.dirname(osp.abspath(__file__)), '..'))  # run from a checkout that is not installed

import mmseg_bpkd  # noqa: F401
import cv2
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.utils import ProgressBar
from mmseg_bpkd.launch import add_config_arguments, read_config, short_errors
from mmseg_bpkd.predict import (
    Predictor,
    check_same_classes,
    compare,
    count_images,
    distinct_ends,
    images_of,
    side_by_side,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('source', help='image, folder of images, or video')
    parser.add_argument('--out', default='predictions', help='folder to write; default: predictions')
    parser.add_argument(
        '--beside',
        nargs=2,
        metavar=('CONFIG', 'CHECKPOINT'),
        help='a second model to compare with; --method and --cfg-options do not apply to it',
    )
    parser.add_argument('--device', help='where to run, such as cpu or cuda:1; default: the GPU, if there is one')
    add_config_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    init_default_scope('mmseg')
    with short_errors(None, FileNotFoundError, ValueError):
        cfg = read_config(args.config, args.cfg_options, args.method)
        other_cfg = read_config(args.beside[0], {}) if args.beside else None
    with short_errors(cfg, ImportError, OSError, ValueError):
        predict(cfg, other_cfg, args)


def predict(cfg: Config, other_cfg: Optional[Config], args: argparse.Namespace) -> None:
    total = count_images(args.source)
    first, second = Predictor(cfg, args.checkpoint, args.device), None
    if args.beside:
        second = Predictor(other_cfg, args.beside[1], args.device)
        names = distinct_ends(args.checkpoint, args.beside[1])
        check_same_classes(names, (first, second))
    for folder in ('labels', 'overlays', *(['compared'] if second else [])):
        os.makedirs(osp.join(args.out, folder), exist_ok=True)
    progress, sums, count = ProgressBar(total or 0), {}, 0
    try:
        for name, image in images_of(args.source):
            labels = first(image)
            write(args.out, 'labels', name, labels)
            write(args.out, 'overlays', name, first.overlay(image, labels))
            if second:
                other_labels = second(image)
                differences, fractions = compare(image, labels, other_labels)
                pictures = [
                    ('image', image),
                    (names[0], first.overlay(image, labels)),
                    (names[1], second.overlay(image, other_labels)),
                    ('different: orange at boundaries, blue elsewhere', differences),
                ]
                write(args.out, 'compared', name, side_by_side(pictures))
                sums = {key: sums.get(key, 0) + value for key, value in fractions.items()}
            count += 1
            progress.update()
    finally:  # also when a video breaks off
        print(f'\nwrote the predictions of {count} image{"s" * (count != 1)} to {args.out}')
        for key, value in sums.items():
            print(f'pixels that differ {key}: {100 * value / count:.2f} %')


def write(out: str, folder: str, name: str, picture) -> None:
    path = osp.join(out, folder, f'{name}.png')
    if not cv2.imwrite(path, picture):
        raise OSError(f'cannot write {path}')


if __name__ == '__main__':
    main()
