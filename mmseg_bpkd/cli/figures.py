"""Draw the kinds of figures of the BPKD paper: entropy, cam, classes, grid and curves.

    bpkd figures entropy teacher=CONFIG,teacher student=CONFIG,CHECKPOINT bpkd=CONFIG,CHECKPOINT
    bpkd figures cam --class-name pole teacher=CONFIG,teacher bpkd=CONFIG,CHECKPOINT
    bpkd figures grid student=CONFIG,CHECKPOINT bpkd=CONFIG,CHECKPOINT
    bpkd figures classes RESULTS --names student bpkd
    bpkd figures curves RESULTS --names student bpkd

A network is NAME=CONFIG,CHECKPOINT. The config of a distillation stands for its student. With the word "teacher" in
place of the checkpoint, it stands for its teacher. RESULTS are folders or JSON files of `bpkd experiment` or
`bpkd test`. Each figure is a PNG with a JSON of its numbers beside it. docs/figures.md describes them.
"""

import argparse
import os.path as osp
from typing import TYPE_CHECKING

from .arguments import add_cfg_options

if TYPE_CHECKING:
    from matplotlib.figure import Figure


LAYER = 'a module, such as backbone.layer1, or stage N of the backbone: backbone:N; default: %(default)s'
HALF_WIDTH = 'half the width of the band around boundaries, in pixels; default: %(default)s'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest='kind', required=True, metavar='FIGURE')

    entropy = kinds.add_parser('entropy', help='entropy of early features against accuracy at boundaries')
    add_networks(entropy)
    entropy.add_argument('--layer', default='backbone:0', help=LAYER)
    entropy.add_argument('--half-width', type=int, default=3, help=HALF_WIDTH)
    entropy.add_argument('--measure', type=int, metavar='N', help='measure N images, spread evenly; default: all')

    cam = kinds.add_parser('cam', help='HiResCAM of a class')
    add_networks(cam)
    cam.add_argument('--class-name', required=True, help='a class of the data set')
    cam.add_argument('--layer', default='backbone:-1', help=LAYER)

    grid = kinds.add_parser('grid', help='predictions with their errors')
    add_networks(grid)
    grid.add_argument('--half-width', type=int, default=3, help=HALF_WIDTH)

    classes = kinds.add_parser('classes', help='IoU of each class, from results')
    add_results(classes)
    classes.add_argument('--metric', default='trimap/mIoU@3px', help='default: trimap/mIoU@3px')
    classes.add_argument('--classes', nargs='+', help='which classes, in this order; default: all')

    curves = kinds.add_parser('curves', help='trimap mIoU over the width of the band, from results')
    add_results(curves)
    curves.add_argument('--against', metavar='NAME', help='show differences to this run; default: student')

    args = parser.parse_args()
    for name in ('half_width', 'measure', 'count'):
        value = getattr(args, name, None)
        if value is not None and value < 1:
            parser.error(f'--{name.replace("_", "-")} must be at least 1, got {value}')
    args.out = args.out or osp.join('work_dirs/figures', f'{args.kind}.png')
    if not args.out.endswith('.png'):
        parser.error(f'--out must be named *.png, got {args.out}')
    return args


def add_networks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('networks', nargs='+', metavar='NAME=CONFIG,CHECKPOINT')
    parser.add_argument('--images', nargs='+', metavar='IMAGE', help='names or indices of the test images to draw')
    parser.add_argument('--count', type=int, default=3, help='without --images, how many to draw; default: 3')
    parser.add_argument('--out', metavar='PNG', help='default: work_dirs/figures/FIGURE.png')
    add_cfg_options(parser, 'changes to every config')


def add_results(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('results', nargs='+', metavar='RESULTS', help='folders or JSON files')
    parser.add_argument('--names', nargs='+', help='which runs, in this order, without seeds; default: all')
    parser.add_argument('--out', metavar='PNG', help='default: work_dirs/figures/FIGURE.png')


def main() -> None:
    args = parse_args()
    from mmengine.logging import MMLogger
    from mmengine.registry import init_default_scope

    from mmseg_bpkd.config.errors import short_errors
    from mmseg_bpkd.fileio.writing import check_writable, save_figure, write_json

    init_default_scope('mmseg')
    MMLogger.get_current_instance().setLevel('ERROR')  # else each metric prints a table
    numbers_file = f'{osp.splitext(args.out)[0]}.json'
    with short_errors(None, OSError, ValueError):
        check_writable(args.out, numbers_file)  # before the work
        figure, numbers = draw(args)
        save_figure(figure, args.out, dpi=150)
        write_json(numbers_file, numbers)
    print(f'written: {args.out} and {numbers_file}')


def draw(args: argparse.Namespace) -> tuple['Figure', dict]:
    from mmseg_bpkd.analysis import figures
    from mmseg_bpkd.analysis.figures.cam import class_index

    if args.kind == 'classes':
        return figures.classes_figure(args.results, args.names, args.metric, args.classes)
    if args.kind == 'curves':
        return figures.curves_figure(args.results, args.names, args.against)
    networks = figures.load_networks(args.networks, args.cfg_options)
    images = figures.TestImages(networks[0].cfg)
    shown = images.find(args.images) if args.images else images.spread(args.count)
    if args.kind == 'grid':
        return figures.grid_figure(networks, images, shown, args.half_width)
    if args.kind == 'entropy':
        measured = images.spread(args.measure)
        return figures.entropy_figure(networks, images, measured, shown, args.layer, args.half_width)
    if not args.images:
        shown = images.with_class(class_index(args.class_name, networks[0].classes), args.count)
        if not shown:
            raise ValueError(f'no pixel of {args.class_name} in 50 test images: choose images with --images')
    return figures.cam_figure(networks, images, shown, args.layer, args.class_name)
