"""Predict the classes of the pixels of an image, of the images of a folder, or of the frames of a video.

    bpkd predict CONFIG CHECKPOINT photos/ --out predictions
    bpkd predict CONFIG CHECKPOINT drive.mp4 --out predictions --beside CONFIG_2 CHECKPOINT_2

writes predictions/labels/NAME.png (the class of each pixel) and predictions/overlays/NAME.png. With `--beside`, it also
writes predictions/compared/NAME.png: image, both predictions, and where they differ (orange within 3 pixels of a
boundary of either, blue elsewhere). CHECKPOINT may be an ONNX file of `bpkd export`.
"""

import argparse

from .arguments import add_config_arguments


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
    from mmengine.registry import init_default_scope

    from mmseg_bpkd.config.errors import short_errors
    from mmseg_bpkd.config.reading import read_config
    from mmseg_bpkd.deploy.predict import Predictor, count_images, distinct_ends, predict

    init_default_scope('mmseg')
    with short_errors(None, FileNotFoundError, ValueError):
        cfg = read_config(args.config, args.cfg_options, args.method)
        other_cfg = read_config(args.beside[0], {}) if args.beside else None
    with short_errors(cfg, ImportError, OSError, ValueError):
        count_images(args.source)  # fails before the networks are built
        predictors = [Predictor(cfg, args.checkpoint, args.device)]
        names = [args.checkpoint]
        if other_cfg:
            predictors.append(Predictor(other_cfg, args.beside[1], args.device))
            names = list(distinct_ends(args.checkpoint, args.beside[1]))
        predict(dict(zip(names, predictors)), args.source, args.out)
