"""`tools/check_dataset.py` finds what is wrong with broken copies of datasets, and names it in one message."""

import json
import os
import os.path as osp
import re
import shutil
from collections import Counter

import layouts
import numpy as np
import pytest
import runs
from broken_layouts import (
    ERRORS,
    TRAIN_ONLY,
    WARNINGS,
    change_first_label,
    cut,
    empty,
    files,
    relabel,
    remove,
    replace_image_by_web_page,
)
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import DATASETS, TRANSFORMS
from PIL import Image

from mmseg_bpkd.cli import check as check_dataset
from mmseg_bpkd.datasets import CamVidDataset
from mmseg_bpkd.datasets.check import check_datasets, picture, splits_of
from mmseg_bpkd.datasets.check.content import largest_size
from mmseg_bpkd.datasets.check.decoding import read_pair, read_pairs
from mmseg_bpkd.datasets.check.listing import describe_suffixes, fault_of_list
from mmseg_bpkd.datasets.check.probes import Probe, probe_all, same_files
from mmseg_bpkd.datasets.check.splits import Pair
from mmseg_bpkd.datasets.labels import LabelRule, count_values, format_values

IMAGES = 3  # in each split


def config(name: str) -> str:
    return osp.join(ROOT, f'configs/_base_/datasets/{layouts.BASES[name]}.py')


def options(root: str, *more: str) -> list:
    counts = [f'num_images.{split}={IMAGES}' for split in ('train', 'val')]
    return ['--cfg-options', *layouts.data_root_options(root), *counts, *more]


@pytest.fixture(scope='session')
def intact(tmp_path_factory) -> dict:
    folder = str(tmp_path_factory.mktemp('data'))
    return {name: write(folder, IMAGES) for name, write in layouts.LAYOUTS.items()}


@pytest.fixture
def copy_of(intact, tmp_path):
    """A function that copies an intact dataset, for a test to break."""

    def copy(name: str) -> str:
        return shutil.copytree(intact[name], tmp_path / osp.basename(intact[name]))

    return copy


@pytest.fixture
def check(tmp_path, capsys):
    """A function that runs the tool in this process. It returns the exit code, the problems and the whole output."""

    def run(name: str, root: str, *more: str, arguments=('--all', '--samples', '0')):
        code = check_dataset.main(
            [config(name), '--workers', '0', '--out', str(tmp_path / 'out'), *arguments, *options(root, *more)]
        )
        text = capsys.readouterr().out
        return code, re.findall(r'^(?:error|warning): .*', text, re.MULTILINE), text

    return run


@pytest.mark.parametrize('name', layouts.LAYOUTS)
def test_intact_copy_has_no_problems(name, intact, check):
    code, problems, text = check(name, intact[name])
    assert problems == [] and code == 0
    assert 'no problems found' in text and text.count(f'{IMAGES} images in') == 2
    report = json.load(open(re.search(r'written to (.*): report.json', text)[1] + '/report.json'))
    assert report['findings'] == [] and report['splits']['val']['read'] == IMAGES
    assert all(report['splits']['train']['pixels'].values())


@pytest.mark.parametrize('case', ERRORS)
def test_broken_copy_gives_one_error(case, copy_of, check):
    name, break_it, more, message = ERRORS[case]
    root = copy_of(name)
    break_it(root)
    code, problems, text = check(name, root, *more)
    assert len(problems) == 1, problems
    assert re.match(f'error: {message}', problems[0]), problems[0]
    assert code == 1 and '1 error, 0 warnings' in text


@pytest.mark.parametrize('case', WARNINGS)
def test_suspicious_copy_gives_one_warning(case, copy_of, check):
    name, break_it, more, message = WARNINGS[case]
    root = copy_of(name)
    break_it(root)
    code, problems, text = check(name, root, *more)
    assert len(problems) == 1, problems
    assert re.match(f'warning: {message}', problems[0]), problems[0]
    assert code == 0 and '0 errors, 1 warning' in text
    assert ('48x3 to 48x36' in text) == (case == 'image smaller than the crop')


def test_all_problems_are_reported(copy_of, check):
    root = copy_of('ade20k')
    cut('images/training/*1.jpg', 0.5)(root)
    remove('annotations/training/*2.png')(root)
    empty('images/validation')(root)
    code, problems, _ = check('ade20k', root)
    messages = ('images/validation is empty', '1 image without label', r'1 of 3 images read from \S+ cannot be used')
    assert code == 1 and len(problems) == 3
    assert all(re.search(message, problem) for message, problem in zip(messages, problems))


@pytest.mark.parametrize(
    'break_it',
    [
        cut('images/validation/*', 0.9),
        cut('annotations/training/*', 0.9),
        cut('annotations/training/*', 0),
        replace_image_by_web_page,
    ],
)
def test_incomplete_files_are_found_even_without_time_for_others(break_it, copy_of, check):
    root = copy_of('ade20k')
    break_it(root)
    code, problems, text = check('ade20k', root, arguments=('--seconds', '0', '--samples', '0'))
    assert code == 1 and len(problems) == 1
    assert re.search(r'1 of 1 (image|label) read from \S+ cannot be used', problems[0])
    assert text.count('none read') == 1 and ', 1 read' in text


def test_message_names_three_of_many_files(copy_of, check):
    root = copy_of('camvid')
    for path in files(root, 'annotations/*/*'):
        os.truncate(path, 10)
    for i in range(3, 7):
        shutil.copy(files(root, 'images/train/*')[0], osp.join(root, f'images/train/{i}.png'))
    _, problems, _ = check('camvid', root, 'num_images=None')
    assert re.search(r'train: 4 images without label: 3.png, 4.png, 5.png and 1 more, expected', problems[0])


def to_color(label: np.ndarray) -> np.ndarray:
    return layouts.COLORS[label].astype(np.uint8)


@pytest.mark.parametrize(
    'break_it',
    [
        cut('annotations/train/*', 0.5),
        change_first_label('annotations/train/*', to_color),
        change_first_label('annotations/train/*', lambda label: label + 20),
    ],
)
def test_absent_class_is_not_reported_if_a_broken_label_may_have_it(break_it, copy_of, check):
    root = copy_of('camvid')
    for path in files(root, 'annotations/train/*')[1:]:
        relabel(root, osp.relpath(path, root), lambda label: np.where(label == 4, 3, label).astype(np.uint8))
    break_it(root)
    _, problems, _ = check('camvid', root)
    assert len(problems) == 1 and re.match('error: train: .*1 of 3 labels read ', problems[0])


def test_hidden_files_are_ignored(copy_of, check):
    root = copy_of('camvid')
    for kind in ('images', 'annotations'):
        with open(osp.join(root, kind, 'train/._0001TP_000000.png'), 'w') as file:
            file.write('metadata of macOS')
    assert check('camvid', root)[:2] == (0, [])


def test_label_without_image_in_a_shared_folder_is_reported_once(copy_of, check):
    root = copy_of('pascal_context')
    shutil.copy(files(root, 'SegmentationClassContext/*')[0], osp.join(root, 'SegmentationClassContext/spare.png'))
    _, problems, _ = check('pascal_context', root)
    assert len(problems) == 1 and re.match('warning: train, val: 1 label without image in .*: spare.png;', problems[0])


def test_one_shared_image_in_a_hundred_is_only_a_warning(check, tmp_path):
    """Some published datasets have a few shared images, so the copy need not be wrong."""
    root = layouts.camvid(str(tmp_path), images=100, size=(12, 9))
    for i, (severity, expected) in enumerate((('warning', 0), ('error', 1))):
        shutil.copy(files(root, 'images/train/*')[i], files(root, 'images/val/*')[i])
        code, problems, _ = check('camvid', root, 'num_images.train=100', 'num_images.val=100')
        shared = [problem for problem in problems if 'byte for byte' in problem]
        assert code == expected and len(shared) == 1 and shared[0].startswith(f'{severity}: val: {i + 1} image')


def test_same_files_compares_the_whole_content(tmp_path):
    contents = dict(a=b'x' * 3000, b=b'x' * 1500 + b'y' + b'x' * 1499, c=b'x' * 3000, empty=b'', void=b'')
    paths = {name: str(tmp_path / name) for name in contents}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    probes = probe_all(paths.values())
    assert probes[paths['a']].fingerprint == probes[paths['b']].fingerprint
    same = same_files([paths['b'], paths['a'], paths['empty']], [paths['c'], paths['void']], probes)
    assert same == [(paths['a'], paths['c'])]


def test_pixel_counts_equal_those_of_load_annotations(copy_of, check, tmp_path):
    """The dataset has custom classes, so that the label values are mapped."""
    root = copy_of('ade20k')
    kept = ('wall', 'sky', 'flag')
    classes = f'train_dataloader.dataset.metainfo.classes={",".join(kept)}'
    _, problems, text = check('ade20k', root, *TRAIN_ONLY, classes, 'train_dataloader.dataset.pipeline.2.num_classes=3')
    assert len(problems) == 1 and re.match('warning: train: 98 % .* void', problems[0])
    load = TRANSFORMS.build(dict(type='LoadAnnotations', reduce_zero_label=True))
    data = Config.fromfile(config('ade20k')).train_dataloader.dataset
    data.update(data_root=root, metainfo=dict(classes=kept), pipeline=[])
    entries = DATASETS.build(data).load_data_list()
    labels = np.stack([load(entry)['gt_seg_map'] for entry in entries])
    summary = json.load(open(tmp_path / 'out/report.json'))['splits']['train']
    assert summary['pixels'] == {name: int((labels == i).sum()) for i, name in enumerate(kept)}
    assert summary['void'] == int((labels == 255).sum()) and summary['sizes'] == {'64x48': 3}
    assert f'| wall             | {100 * (labels == 0).mean():5.2f} |' in text
    assert f'{100 * (labels == 255).mean():.1f} % void' in text


@pytest.mark.parametrize('reduce_zero_label', [False, True])
@pytest.mark.parametrize('mode', ['L', 'P', '1'])
def test_values_equal_those_that_the_pipeline_loads(mode, reduce_zero_label, tmp_path):
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(values if mode != '1' else values > 99)
    if mode == 'P':
        image = Image.fromarray(values).convert('P')
        image.putdata(values.ravel().tolist())
        image.putpalette(np.random.default_rng(0).integers(0, 256, 768).astype(np.uint8).tobytes())
    image.save(tmp_path / 'label.png')
    assert Image.open(tmp_path / 'label.png').mode == mode
    label_map = {0: 2, 1: 255, 2: 0, 254: 7}
    path = str(tmp_path / 'label.png')
    loaded = TRANSFORMS.build(dict(type='LoadAnnotations'))(
        dict(seg_map_path=path, reduce_zero_label=reduce_zero_label, label_map=label_map, seg_fields=[])
    )
    expected = dict(zip(*(x.tolist() for x in np.unique(loaded['gt_seg_map'], return_counts=True))))
    reading = read_pair(Pair('train', 'no image', path))
    got, rule = Counter(), LabelRule(255, 255, None, reduce_zero_label, label_map)
    for value, count in reading.values.items():
        got[rule.class_of(value)] += count
    assert got == expected and reading.bands == 1
    assert rule.class_of(256) is None  # LoadAnnotations would wrap it to class 0 or void


def test_image_size_is_that_after_the_exif_rotation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = str(tmp_path / 'rotated.jpg')
    Image.new('RGB', (20, 10)).save(path, exif=exif)
    loaded = TRANSFORMS.build(dict(type='LoadImageFromFile'))(dict(img_path=path))
    assert read_pair(Pair('train', path, None)).image_size == loaded['img'].shape[1::-1] == (10, 20)


def test_largest_size_follows_the_resizing_of_the_pipeline():
    pipeline = Config.fromfile(config('pascal_context')).train_dataloader.dataset.pipeline
    assert largest_size((500, 375), pipeline) == (1040, 780) and largest_size((500, 375), pipeline[-1:]) == (500, 375)


@pytest.mark.parametrize('workers', ['0', '2'])
def test_readings_do_not_depend_on_the_number_of_processes(workers, intact, tmp_path):
    pairs = [
        Pair('train', image, image.replace('images', 'annotations').replace('.jpg', '.png'))
        for image in files(intact['ade20k'], 'images/training/*')
    ]
    probes = probe_all(path for pair in pairs for path in (pair.image, pair.label))
    got = {reading.pair: reading for reading in read_pairs(pairs, probes, None, int(workers))}
    assert got == {pair: read_pair(pair) for pair in pairs} and len(got) == IMAGES


def test_reading_stops_at_the_time_limit():
    pairs = [Pair('train', f'{i}.png', None) for i in range(50)]
    probes = {pair.image: Probe(1, True, (1, b'')) for pair in pairs}
    assert list(read_pairs(pairs, probes, 0, 0)) == []
    first, *_, last = [reading.pair.image for reading in read_pairs(pairs, probes, None, 0)]
    assert (first, last) != ('0.png', '49.png')  # shuffled


def test_exception_in_one_check_does_not_stop_the_others(intact, check, monkeypatch, tmp_path):
    def fail(*args):
        raise RuntimeError('boom')

    monkeypatch.setattr('mmseg_bpkd.datasets.check.all_checks.check_shared_images', fail)
    monkeypatch.setattr('mmseg_bpkd.datasets.check.report.draw_samples', fail)
    code, problems, text = check('camvid', intact['camvid'])
    assert code == 1 and problems == [
        'error: shared images, samples.png: this check raised RuntimeError (boom); the other checks still ran'
    ]
    assert '| sky ' in text and json.load(open(tmp_path / 'out/report.json'))['splits']['train']['read'] == IMAGES


def test_interrupt_keeps_the_pairs_read_so_far(intact, check, monkeypatch):
    def interrupted(pairs, *args):
        yield read_pair(pairs[0])
        raise KeyboardInterrupt

    monkeypatch.setattr('mmseg_bpkd.datasets.check.all_checks.read_pairs', interrupted)
    code, problems, text = check('camvid', intact['camvid'])
    assert code == 0 and problems == ['warning: reading: interrupted after 1 of 6 pairs: the results cover only these']
    assert ', 1 read' in text


def test_datasets_inside_wrappers_are_checked(intact):
    leaf = dict(
        type='CamVidDataset',
        data_root=intact['camvid'],
        data_prefix=dict(img_path='images/train', seg_map_path='annotations/train'),
    )
    other = dict(leaf, data_prefix=dict(img_path='images/val', seg_map_path='annotations/val'))
    parts = dict(type='ConcatDataset', datasets=[leaf, other, leaf])
    repeated, tested = dict(type='RepeatDataset', times=2, dataset=parts), dict(leaf, test_mode=True)
    cfg = Config(
        dict(
            train_dataloader=dict(dataset=repeated),
            val_dataloader=dict(dataset=leaf),
            test_dataloader=dict(dataset=tested),
        )
    )
    splits = splits_of(cfg)
    assert [split.name for split in splits] == ['train part 1', 'train part 2', 'val']
    result = check_datasets(splits, dict(train=2 * IMAGES, val=[4, IMAGES]), None)
    assert [str(finding) for finding in result.findings] == [
        f'error: val: 3 images of {intact["camvid"]}/images/train are also in the training set, byte for byte: '
        '0001TP_000000.png, 0001TP_000001.png, 0001TP_000002.png; do not evaluate on these'
    ]
    short = check_datasets(splits_of(cfg), dict(train=9), None)
    assert 'train: 6 images in' in str(short.findings[0]) and 'expected 9 as published' in str(short.findings[0])


def test_if_two_parts_could_explain_a_missing_image_the_other_is_still_reported(copy_of):
    root = copy_of('camvid')
    remove('images/*/*1.png')(root)
    parts = [
        dict(
            type='CamVidDataset',
            data_root=root,
            data_prefix=dict(img_path=f'images/{folder}', seg_map_path=f'annotations/{folder}'),
        )
        for folder in ('train', 'val')
    ]
    cfg = Config(dict(train_dataloader=dict(dataset=dict(type='ConcatDataset', datasets=parts))))
    error, warning = (str(finding) for finding in check_datasets(splits_of(cfg), dict(train=5), None).findings)
    assert re.match('error: train: 4 images .*expected 5 as published; 1 label without image: 0001TP_000001.png', error)
    assert re.match('warning: train part 2: 1 label without image in .*: 0016E5_000001.png', warning)


def test_synthetic_scenes_need_no_files(tmp_path, capsys):
    path = osp.join(ROOT, 'configs/_base_/datasets/synthetic_160x120.py')
    assert check_dataset.main([path, '--out', str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert 'train SyntheticScenes: 400 samples drawn on demand, no files to check' in text and 'error' not in text


def test_missing_class_names_are_an_error_and_the_rest_is_checked_by_num_classes(intact, check, tmp_path):
    nameless = [
        f'{loader}_dataloader.dataset.{key}'
        for loader in ('train', 'val', 'test')
        for key in ('type=BaseSegDataset', 'img_suffix=.png')
    ]
    code, problems, text = check('camvid', intact['camvid'], *nameless, arguments=('--all', '--samples', '1'))
    assert code == 1 and problems == [
        f'error: {loader}: BaseSegDataset has no class names, which validation needs: set '
        f'metainfo=dict(classes=(...)) in {loader}_dataloader.dataset'
        for loader in ('train', 'val')
    ]
    assert '| class 10 ' in text and 'samples.png' in text


def test_classes_are_compared_with_those_of_the_model(intact, tmp_path, capsys):
    path = osp.join(ROOT, 'configs/bpkd/bpkd_deeplabv3plus-r18w32_deeplabv3plus-r18w16_1xb6-4k_camvid-240x320.py')
    arguments = [path, '--workers', '0', '--samples', '0', '--out', str(tmp_path)]
    assert check_dataset.main([*arguments, *options(intact['camvid'])]) == 0
    assert check_dataset.main([*arguments, *options(intact['camvid'], 'model.num_classes=12')]) == 1
    assert (
        'error: train, val: CamVidDataset has 11 classes, but the decode_head of the student has num_classes=12: set '
        'num_classes of the model to 11, or use other data'
    ) in capsys.readouterr().out


@pytest.mark.parametrize('samples', [1, 4])
def test_picture_has_one_row_per_sample(samples, intact, check, tmp_path):
    check('camvid', intact['camvid'], arguments=('--samples', str(samples)))
    with Image.open(tmp_path / 'out/samples.png') as image:
        pixels, size = np.asarray(image.convert('RGB')), image.size
    legend = picture.TITLE + 2 * picture.LEGEND_ROW  # 11 classes and void, 8 per line
    assert size == (3 * 480, samples * (360 + picture.TITLE) + legend)  # 48x36, enlarged to 480x360
    label = pixels[picture.TITLE : picture.TITLE + 360, 480:960].astype(int)
    palette = picture.with_spare_colors(CamVidDataset.METAINFO['palette'])[:-1]
    labels = [np.array(Image.open(path)) for path in files(intact['camvid'], 'annotations/*/*')]
    assert sum(_shows(label, palette, candidate) for candidate in labels) == 1


def _shows(painted: np.ndarray, palette: np.ndarray, label: np.ndarray) -> bool:
    """Whether one corner of each enlarged pixel blends 60 % of the label's color with 40 % of any image."""
    rest = painted[::10, ::10] - 0.6 * palette[np.minimum(label, 11)]
    return bool(((rest > -3) & (rest < 0.4 * 255 + 3)).all())


def test_edge_map_marks_boundaries_between_classes_but_not_to_void():
    label = np.zeros((8, 24), int)
    label[:, 8:], label[:, 16:] = 5, 11
    edges = picture.edge_map(label, 11, 1)
    band = (np.arange(24) >= 5) & (np.arange(24) < 11)  # three pixels on either side
    assert edges.shape == (8, 24) and (edges == band).all()
    assert (picture.edge_map(label, 11, 2)[0] == [0, 0, 0.5, 1, 1, 0.5, 0, 0, 0, 0, 0, 0]).all()
    assert picture.edge_map(np.full((4, 4), 11), 11, 1).max() == 0


def test_documentation_states_the_numbers_of_the_configs():
    with open(osp.join(ROOT, 'docs/data.md')) as file:
        rows = re.findall(r'`(configs/\S+)` \| (\d+), (\d+) \| (\d+) \|', file.read())
    assert len(rows) == len(layouts.BASES)
    for path, *numbers in rows:
        cfg = Config.fromfile(osp.join(ROOT, path))
        published = [count if isinstance(count, int) else count[0] for count in cfg.num_images.values()]
        assert [*published, cfg.num_classes] == [int(number) for number in numbers]


def test_formatting_of_suffixes_and_values():
    assert describe_suffixes(['a/aachen_000_gtFine_labelIds.png', 'ADE_train_01.jpg', 'b_02.jpg', 'README']) == (
        '.jpg (2), _gtFine_labelIds.png (1), README (1)'
    )
    assert format_values([0, 1, 2, 7, 9, 10]) == '0 to 2, 7, 9 to 10'
    assert count_values(np.array([[300, 300], [2, 0]], np.uint16)) == {0: 1, 2: 1, 300: 2}


@pytest.mark.slow
def test_command_line_writes_report_and_picture(intact, copy_of, tmp_path):
    arguments = [config('camvid'), '--seconds', '30', '--samples', '2', '--out', tmp_path / 'out']
    done = runs.call('check_dataset.py', *arguments, *options(intact['camvid']))
    assert f'written to {tmp_path}/out: report.json, samples.png' in done.stdout and not done.stderr
    broken = copy_of('camvid')
    remove('annotations/train/*1.png')(broken)
    done = runs.call('check_dataset.py', *arguments, *options(broken), check=False)
    assert done.returncode == 1 and 'error: train: 1 image without label' in done.stdout


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['nowhere.py'], 'no config nowhere.py'),
        ([config('camvid'), '--seconds', '-1'], 'must not be negative'),
        ([osp.join(ROOT, 'configs/_base_/schedules/80k.py')], 'has no data set in train_dataloader'),
        ([osp.join(ROOT, 'README.md')], 'cannot be used: '),
        ([config('camvid'), '--cfg-options', 'train_dataloader.dataset.pipeline.77.x=1'], 'cannot be used: '),
        (['--speed'], 'the following arguments are required: config'),
    ],
)
def test_invalid_usage_exits_with_code_2(arguments, message, capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        check_dataset.main([*arguments, '--out', str(tmp_path)] if arguments[0].endswith('y') else arguments)
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_real_camvid_has_no_problems(camvid, tmp_path, capsys):
    code = check_dataset.main(
        [
            config('camvid'),
            '--samples',
            '2',
            '--seconds',
            '5',
            '--out',
            str(tmp_path),
            '--cfg-options',
            *layouts.data_root_options(camvid),
        ]
    )
    text = capsys.readouterr().out
    assert code == 0 and 'no problems found' in text
    assert '367 images in' in text and '101 images in' in text


def test_the_last_line_of_a_list_needs_no_newline(tmp_path):
    for text, fault in (
        ('a\nb', ''),
        ('a\nb\n', ''),
        ('a\nb.jpg', 'line 2 of the list has a suffix'),
        ('a\n\nb', 'line 2'),
    ):
        (tmp_path / 'list.txt').write_text(text)
        found = fault_of_list(str(tmp_path / 'list.txt'))
        assert found.startswith(fault) and bool(found) == bool(fault)
