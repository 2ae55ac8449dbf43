import copy
import itertools
import os
import pickle
import random
import subprocess
import sys

import layouts
import numpy as np
import pytest
import tiny
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import DATASETS, TRANSFORMS, init_default_scope
from PIL import Image
from torch.utils.data import DataLoader

from mmseg_bpkd.datasets import CamVidDataset, ResumableSampler
from mmseg_bpkd.datasets.check import check_classes, check_datasets, splits_of
from mmseg_bpkd.datasets.labels import DataError, LabelRule, parse_label_map
from mmseg_bpkd.datasets.sampler import SampleIndex
from mmseg_bpkd.datasets.synthetic import CLASSES, render_scene
from mmseg_bpkd.models.segmentors import build_segmentor, resolve_segmentor


def take(sampler, n):
    return list(itertools.islice(sampler, n))


def test_sampler_shuffles_each_epoch_differently():
    stream = take(ResumableSampler(range(7), seed=3), 21)
    epochs = [stream[i : i + 7] for i in (0, 7, 14)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_sampler_can_start_at_any_position_with_the_same_indices_and_seeds():
    whole, rest = ResumableSampler(range(7), seed=3), ResumableSampler(range(7), seed=3)
    rest.start = 16
    expected = take(whole, 40)[16:]
    got = take(rest, 24)
    assert got == expected and [i.seed for i in got] == [i.seed for i in expected]


@pytest.mark.parametrize('start', [0, 9])
def test_ranks_take_turns_in_one_stream(monkeypatch, start):
    streams = []
    for rank in range(2):
        monkeypatch.setattr('mmseg_bpkd.datasets.sampler.get_dist_info', lambda rank=rank: (rank, 2))
        sampler = ResumableSampler(range(7), seed=3)
        sampler.start = start
        streams.append(take(sampler, 14))
    monkeypatch.undo()
    joined = [index for pair in zip(*streams) for index in pair]
    single = take(ResumableSampler(range(7), seed=3), start + 28)[start:]
    assert joined == single and [i.seed for i in joined] == [i.seed for i in single]


def test_sampler_streams_differ_between_seeds():
    assert take(ResumableSampler(range(50), seed=0), 50) != take(ResumableSampler(range(50), seed=1), 50)
    assert take(ResumableSampler(range(50), seed=0), 100)[50:] != take(ResumableSampler(range(50), seed=1), 50)


def test_sampler_without_shuffling_keeps_the_order():
    assert take(ResumableSampler(range(3), shuffle=False, seed=0), 7) == [0, 1, 2, 0, 1, 2, 0]


def test_sample_index_keeps_its_seed_when_pickled():
    index = pickle.loads(pickle.dumps(SampleIndex(5, 77)))
    assert index == 5 and index.seed == 77


class Noise:
    """A dataset of random numbers from Python, NumPy and PyTorch, seeded by `SeedAugmentation`."""

    def __init__(self):
        self.seed = TRANSFORMS.build(dict(type='SeedAugmentation'))

    def __len__(self):
        return 6

    def __getitem__(self, index):
        self.seed(dict(sample_idx=index))
        return int(index), random.random(), np.random.random(), torch.rand(()).item()


def test_augmentation_does_not_depend_on_the_number_of_workers():
    streams = []
    for workers in (0, 2):
        loader = DataLoader(Noise(), 2, sampler=ResumableSampler(range(6), seed=1), num_workers=workers)
        streams.append([[x.tolist() for x in batch] for batch in itertools.islice(loader, 8)])
    assert streams[0] == streams[1]
    assert len({tuple(batch[1]) for batch in streams[0]}) == 8  # differs from batch to batch


def test_seed_augmentation_refuses_an_index_without_seed():
    with pytest.raises(TypeError, match='ResumableSampler'):
        TRANSFORMS.build(dict(type='SeedAugmentation'))(dict(sample_idx=3))


@pytest.mark.parametrize(
    'wrapper',
    [
        dict(type='RepeatDataset', times=3, dataset=dict(type='SyntheticScenes', num_scenes=2)),
        dict(type='ConcatDataset', datasets=2 * [dict(type='SyntheticScenes', num_scenes=3)]),
    ],
)
def test_mmengine_dataset_wrappers_keep_the_seed(wrapper):
    pipeline = [dict(type='SeedAugmentation'), dict(type='RenderScene'), dict(type='RandomFlip', prob=0.5)]
    for inner in wrapper.get('datasets', [wrapper.get('dataset')]):
        inner['pipeline'] = pipeline
    data = DATASETS.build(copy.deepcopy(wrapper))
    indices = take(ResumableSampler(data, seed=0), 12)
    first, again = ([(sample['scene'], sample['flip']) for sample in map(data.__getitem__, indices)] for _ in range(2))
    assert first == again and len({flip for _, flip in first}) == 2


def test_pascal_voc_has_two_training_sets_whose_labels_have_a_palette(tmp_path):
    images = 3
    root = layouts.pascal_voc(str(tmp_path), images)
    cfg = Config.fromfile(f'{ROOT}/configs/_base_/datasets/pascal_voc12_aug_512x512.py')
    for part in (*cfg.train_dataloader.dataset.datasets, cfg.val_dataloader.dataset, cfg.test_dataloader.dataset):
        part.data_root = root
    splits = splits_of(cfg)
    result = check_datasets(splits, dict(train=2 * images, val=images), None)
    assert [split.name for split in splits] == ['train part 1', 'train part 2', 'val'] and not result.findings
    data = DATASETS.build(cfg.train_dataloader.dataset)
    sample = data[SampleIndex(images, 0)]['data_samples']  # the first image of SBD
    assert 'SegmentationClassAug/2008_000001' in sample.seg_map_path
    assert set(sample.gt_sem_seg.data.unique().tolist()) <= {*range(21), 255}


def apply_original_and_fast(seed: int, image: np.ndarray, label: np.ndarray, *configs: dict) -> list:
    """Applies MMSegmentation's transforms, and then our fast versions, with the same seed.

    Returns:
        For each of the two: image, label, shape, and the next random number, which shows how many were drawn before.
    """
    outputs = []
    for prefix in ('', 'Fast'):
        np.random.seed(seed)
        results = dict(img=image.copy(), gt_seg_map=label.copy(), seg_fields=['gt_seg_map'], img_shape=image.shape[:2])
        for cfg in configs:
            results = TRANSFORMS.build(dict(cfg, type=prefix + cfg['type']) if cfg['type'] != 'RandomFlip' else cfg)(
                results
            )
        outputs.append((results['img'], results['gt_seg_map'], results['img_shape'], np.random.rand()))
    return outputs


@pytest.mark.parametrize('share_of_void', [0, 0.5, 1])
@pytest.mark.parametrize('share_of_one_class', [0.3, 0.7, 0.8, 1])
@pytest.mark.parametrize(('crop_size', 'ignore_index'), [((12, 20), 255), ((60, 16), 255), ((12, 20), -1)])
def test_fast_random_crop_equals_mmsegmentation(crop_size, ignore_index, share_of_one_class, share_of_void):
    """Covers labels for which no crop satisfies `cat_max_ratio`, and images that are smaller than the crop."""
    init_default_scope('mmseg')
    crop = dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75, ignore_index=ignore_index)
    next_numbers = set()
    for seed in range(20):
        generator = np.random.default_rng(seed)
        image = generator.integers(0, 256, (40, 50, 3), np.uint8)
        label = generator.integers(1, 5, (5, 5), np.uint8)
        label[generator.random((5, 5)) < share_of_one_class] = 0
        label[generator.random((5, 5)) < share_of_void] = 255
        theirs, ours = apply_original_and_fast(seed, image, label.repeat(8, 0).repeat(10, 1), crop)
        for a, b in zip(theirs, ours):
            np.testing.assert_array_equal(a, b)
        next_numbers.add(theirs[3])
    assert len(next_numbers) == 20


def test_fast_photo_metric_distortion_equals_mmsegmentation():
    """The images are flipped crops, whose memory is not contiguous."""
    init_default_scope('mmseg')
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    label = np.zeros((40, 50), np.uint8)
    changed = []
    for seed in range(30):
        theirs, ours = apply_original_and_fast(
            seed,
            image,
            label,
            dict(type='RandomCrop', crop_size=(32, 40)),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PhotoMetricDistortion'),
        )
        for a, b in zip(theirs, ours):
            np.testing.assert_array_equal(a, b)
        changed.append((theirs[0] != image[:32, :40]).any())
    assert sum(changed) > 20


@pytest.fixture
def labeled(tmp_path) -> dict:
    label = np.zeros((4, 4), np.uint8)
    label[0] = (0, 10, 255, 11)
    Image.fromarray(label).save(tmp_path / 'label.png')
    return dict(img_path='image.png', seg_map_path=str(tmp_path / 'label.png'), seg_fields=[], reduce_zero_label=False)


def test_invalid_label_value_raises_value_error_with_the_file(labeled):
    load = TRANSFORMS.build(dict(type='LoadCheckedAnnotations', num_classes=11))
    with pytest.raises(ValueError, match=r'label\.png has the values 11: expected 0 to 10, or 255 for void'):
        load(labeled)


def test_valid_label_is_loaded_unchanged(labeled):
    results = TRANSFORMS.build(dict(type='LoadCheckedAnnotations', num_classes=12))(labeled)
    assert results['gt_seg_map'][0].tolist() == [0, 10, 255, 11]


@pytest.mark.parametrize('shape', [(4, 8), (2, 4), (8, 8), (1, 4)])
def test_label_of_another_size_than_its_image_raises_value_error_with_both(shape, labeled, tmp_path):
    Image.fromarray(np.zeros(shape, np.uint8)).save(tmp_path / 'label.png')
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / 'image.png')
    load = [dict(type='LoadImageFromFile'), dict(type='LoadCheckedAnnotations', num_classes=11)]
    results = dict(labeled, img_path=str(tmp_path / 'image.png'))
    size = ' x '.join(map(str, shape))
    with pytest.raises(ValueError, match=rf'label .*label\.png is {size} and its image .*image\.png is 4 x 4 \(height'):
        for transform in load:
            results = TRANSFORMS.build(transform)(results)


def test_label_is_compared_with_the_image_before_it_is_resized(labeled, tmp_path):
    """As in pipelines for testing, which load the label after they resize the image."""
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / 'image.png')
    results = dict(labeled, img_path=str(tmp_path / 'image.png'))
    for transform in (
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(8, 8)),
        dict(type='LoadCheckedAnnotations', num_classes=12),
    ):
        results = TRANSFORMS.build(transform)(results)
    assert results['img'].shape == (8, 8, 3) and results['gt_seg_map'].shape == (4, 4)


def test_missing_label_raises_file_not_found_error_with_the_image(labeled):
    load = TRANSFORMS.build(dict(type='LoadCheckedAnnotations', num_classes=11))
    with pytest.raises(FileNotFoundError, match=r'image image\.png has no label: expected .*missing\.png'):
        load(dict(labeled, seg_map_path=labeled['seg_map_path'].replace('label.png', 'missing.png')))


@pytest.fixture
def load(tmp_path):
    """A function that saves a label and loads it, with a type of transform and its arguments."""

    def run(label, kind: str = 'LoadCheckedAnnotations', **arguments):
        kind_of_file = 'TIFF' if label.dtype == np.int32 else 'PNG'
        Image.fromarray(label).save(tmp_path / 'label.png', kind_of_file)
        results = dict(img_path='image.png', seg_map_path=str(tmp_path / 'label.png'), seg_fields=[])
        results.update(reduce_zero_label=arguments.get('reduce_zero_label') or False)
        return TRANSFORMS.build(dict(type=kind, **arguments))(results)['gt_seg_map']

    return run


@pytest.mark.parametrize('kind', [np.uint16, np.int32])
def test_labels_of_more_than_8_bits_do_not_wrap(kind, load):
    """256 and 258 are 0 and 2 in a byte."""
    label = np.array([[0, 1], [256, 258]], kind)
    with pytest.raises(DataError, match=r'label\.png has the values 256, 258: expected 0 to 2, or 255 for void'):
        load(label, num_classes=3)
    loaded = load(label % 256, num_classes=3)
    assert loaded.dtype == np.uint8 and loaded.tolist() == [[0, 1], [0, 2]]


def test_negative_values_and_fractions_are_no_classes():
    rule = LabelRule(3)
    for label, wrong in (([[-1, 2]], [-1]), ([[0.5, 1.0]], [0.5]), ([[2**31, 1]], [2**31]), ([[np.inf, 1]], [np.inf])):
        classes, found = rule.classes(np.array(label))
        assert found == wrong and classes[0, 0] == -1 and classes[0, 1] == label[0][1]
    classes, found = rule.classes(np.array([[1.0, 255.0]]))
    assert classes.astype(np.uint8).tolist() == [[1, 255]] and not found


@pytest.mark.parametrize('custom', [None, {0: 1, 1: 255, 2: 0, **dict.fromkeys(range(3, 150), 255)}])
@pytest.mark.parametrize('reduced', [False, True])
def test_labels_are_loaded_as_mmsegmentation_does(reduced, custom, tmp_path):
    label = np.random.default_rng(0).integers(0, 150, (40, 50)).astype(np.uint8) + reduced
    label[:3] = 0 if reduced else 255
    Image.fromarray(label).save(tmp_path / 'label.png')
    loaded = []
    for cfg in (dict(type='LoadAnnotations'), dict(type='LoadCheckedAnnotations', num_classes=150)):
        results = dict(img_path='', seg_map_path=str(tmp_path / 'label.png'), label_map=custom, seg_fields=[])
        loaded.append(TRANSFORMS.build(cfg)(dict(results, reduce_zero_label=reduced)))
    for key in ('seg_fields', 'gt_seg_map'):
        np.testing.assert_array_equal(loaded[0][key], loaded[1][key])
    assert loaded[1]['gt_seg_map'].dtype == np.uint8


@pytest.mark.parametrize('label_map', [{0: 0, 255: 1}, {'0': 0, '255': 1}])
def test_label_map_maps_values(label_map, load):
    """Keys are texts if they come from the command line."""
    mask = [[0, 255], [255, 0]]
    assert load(np.array(mask, np.uint8), num_classes=2, label_map=label_map).tolist() == [[0, 1], [1, 0]]
    with pytest.raises(DataError, match='has the values 128: expected 0 to 1, 255'):
        load(np.array([[0, 128]], np.uint8), num_classes=2, label_map=label_map)


def test_label_map_maps_values_of_16_bits_before_zero_is_reduced(load):
    label = np.array([[0, 300], [7, 300]], np.uint16)
    assert load(label, num_classes=2, label_map={300: 1, 7: 255}).tolist() == [[0, 1], [255, 1]]
    assert load(label, num_classes=2, label_map={300: 2, 7: 1}, reduce_zero_label=True).tolist() == [[255, 1], [0, 1]]


ROAD, CAR, OTHER = (128, 64, 128), (0, 0, 142), (255, 255, 255)


@pytest.mark.parametrize('alpha', [False, True])
@pytest.mark.parametrize('label_map', [[ROAD, list(CAR)], {ROAD: 0, CAR: 1}, {str(ROAD): 0, str(CAR): 1, OTHER: 255}])
def test_label_map_maps_colors(label_map, alpha, load):
    colors = np.array([[ROAD, CAR], [CAR, CAR]], np.uint8)
    if alpha:
        colors = np.concatenate([colors, np.full((2, 2, 1), 9, np.uint8)], 2)
    assert load(colors, num_classes=2, label_map=label_map).tolist() == [[0, 1], [1, 1]]
    colors[1, 0, :3] = OTHER
    if len(label_map) == 3:
        assert load(colors, num_classes=2, label_map=label_map).tolist() == [[0, 1], [255, 1]]
    else:
        with pytest.raises(DataError, match=r'has the values \(255, 255, 255\): expected the 2 colors of label_map'):
            load(colors, num_classes=2, label_map=label_map)


def test_label_map_survives_the_dump_of_a_config(tmp_path):
    for label_map in ({0: 0, 255: 1}, {ROAD: 0, CAR: 1}, [ROAD, CAR]):
        Config(dict(a=dict(label_map=label_map))).dump(tmp_path / 'config.py')
        read = Config.fromfile(tmp_path / 'config.py').a.label_map
        assert parse_label_map(read) == parse_label_map(label_map)


@pytest.mark.parametrize('label_map', [{0: 300}, {0: 'road'}, {(0, 0): 1}, {0: 0, ROAD: 1}, [1, 2], {'x': 1}, {}, 3])
def test_a_malformed_label_map_is_refused(label_map):
    with pytest.raises(ValueError, match='expected {value: class}'):
        parse_label_map(label_map)


@pytest.mark.parametrize(
    ('shape', 'label_map', 'message'),
    [
        ((4, 4, 3), None, r'has 3 channels, expected one, of class indices. For masks in color, set label_map'),
        ((4, 4, 2), None, r'has 2 channels, expected one'),
        ((4, 4), {ROAD: 0}, r'has 1 channels, expected a color image, because label_map has colors'),
    ],
)
def test_another_number_of_channels_is_named(shape, label_map, message, load):
    with pytest.raises(DataError, match=message):
        load(np.zeros(shape, np.uint8), num_classes=2, label_map=label_map)


@pytest.mark.parametrize('shape', [(1, 1), (1, 3), (3, 1)])
def test_labels_of_one_pixel_row_or_column_are_loaded(shape, labeled, tmp_path):
    """MMSegmentation removes these dimensions."""
    Image.fromarray(np.zeros(shape, np.uint8)).save(tmp_path / 'label.png')
    Image.fromarray(np.zeros((*shape, 3), np.uint8)).save(tmp_path / 'image.png')
    results = dict(labeled, img_path=str(tmp_path / 'image.png'))
    for step in (dict(type='LoadImageFromFile'), dict(type='LoadCheckedAnnotations', num_classes=2)):
        results = TRANSFORMS.build(step)(results)
    crop = TRANSFORMS.build(dict(type='FastRandomCrop', crop_size=(2, 2), cat_max_ratio=0.75))(dict(results))
    assert results['gt_seg_map'].shape == shape and crop['gt_seg_map'].shape == tuple(min(2, n) for n in shape)


def test_more_classes_than_a_byte_holds_are_refused_everywhere():
    TRANSFORMS.build(dict(type='LoadCheckedAnnotations', num_classes=255))
    with pytest.raises(ValueError, match='300 classes, but at most 255 are supported'):
        TRANSFORMS.build(dict(type='LoadCheckedAnnotations', num_classes=300))
    with pytest.raises(ValueError, match='300 classes, but at most 255'):
        build_segmentor(resolve_segmentor(tiny.pspnet(), 300))
    data = dict(type='SyntheticScenes', metainfo=dict(classes=[str(i) for i in range(300)], palette=[[0, 0, 0]] * 300))
    with pytest.raises(ValueError, match='train: SyntheticScenes has 300 classes, but at most 255'):
        check_classes(Config(dict(model=dict(type='None'), train_dataloader=dict(dataset=data))), 'train')


def test_a_dataset_without_labels_is_named(labeled):
    del labeled['seg_map_path']
    with pytest.raises(DataError, match=r'image image\.png has no label: set data_prefix\.seg_map_path'):
        TRANSFORMS.build(dict(type='LoadCheckedAnnotations', num_classes=11))(labeled)


def test_an_empty_training_set_is_named():
    with pytest.raises(DataError, match='empty'):
        ResumableSampler([])


def test_fast_transforms_refuse_what_they_would_cut_to_8_bits():
    label, image = np.zeros((4, 4), np.int64), np.zeros((4, 4, 3), np.uint16)
    with pytest.raises(DataError, match='FastRandomCrop needs uint8 labels, got int64'):
        TRANSFORMS.build(dict(type='FastRandomCrop', crop_size=(2, 2), cat_max_ratio=0.75))(
            dict(img=image, gt_seg_map=label)
        )
    with pytest.raises(DataError, match='FastPhotoMetricDistortion needs images of 8 bits, got uint16'):
        TRANSFORMS.build(dict(type='FastPhotoMetricDistortion'))(dict(img=image))


def write_tutorial_layout(root, splits=('train', 'val')):
    for split in splits:
        (root / split).mkdir(parents=True)
        (root / f'{split}annot').mkdir()
        for i in range(2):
            Image.fromarray(np.full((6, 8, 3), i, np.uint8)).save(root / split / f'{i}.png')
            Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8) % 12).save(root / f'{split}annot' / f'{i}.png')


def convert(*args):
    return subprocess.run(
        [sys.executable, os.path.join(ROOT, 'tools/dataset_converters/camvid.py'), *map(str, args)],
        capture_output=True,
        text=True,
    )


def test_camvid_dataset_reads_the_output_of_the_converter(tmp_path):
    write_tutorial_layout(tmp_path / 'CamVid')
    done = convert(tmp_path / 'CamVid', tmp_path / 'camvid')
    assert done.returncode == 0 and 'train: 2 images (the published split has 367)' in done.stdout
    pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadCheckedAnnotations', num_classes=11)]
    data = CamVidDataset(
        data_root=str(tmp_path / 'camvid'),
        pipeline=pipeline,
        data_prefix=dict(img_path='images/val', seg_map_path='annotations/val'),
    )
    sample = data[1]
    expected = np.arange(48).reshape(6, 8) % 12
    assert len(data) == 2 and sample['img'].max() == 1
    assert (sample['gt_seg_map'] == np.where(expected == 11, 255, expected)).all()


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
def test_camvid_finds_the_suffix_of_the_images_that_a_list_names(tmp_path, suffix):
    (tmp_path / 'images').mkdir()
    for name in ('a', 'b', 'c'):
        Image.new('RGB', (8, 6)).save(tmp_path / f'images/{name}{suffix}')
    (tmp_path / 'list.txt').write_text('a\nc\n')
    data = CamVidDataset(
        data_root=str(tmp_path), ann_file='list.txt', data_prefix=dict(img_path='images', seg_map_path='labels')
    )
    paths = [(data.get_data_info(i)['img_path'], data.get_data_info(i)['seg_map_path']) for i in range(len(data))]
    assert paths == [(f'{tmp_path}/images/{name}{suffix}', f'{tmp_path}/labels/{name}.png') for name in ('a', 'c')]


def names_in(path: str) -> list:
    with open(os.path.join(ROOT, 'configs/_base_/datasets/camvid_tuning', path)) as file:
        return file.read().split()


def test_no_image_for_tuning_is_next_to_one_that_is_trained_on():
    """Images of a recording are 30 frames apart. Two images on either side of the held-out blocks are left out."""
    train, val = ([name.rsplit('_', 1) for name in names_in(path)] for path in ('train.txt', 'val.txt'))
    assert (len(train), len(val)) == (275, 74)
    for film, frame in val:
        distances = [abs(int(frame.strip('f')) - int(other.strip('f'))) for name, other in train if name == film]
        assert min(distances) >= 90 - 1  # one image is a frame late


def test_the_tuning_split_is_the_rule_that_its_config_states(camvid):
    names = sorted(name.split('.')[0] for name in os.listdir(os.path.join(camvid, 'images/train')))
    parts, last = [], None
    for name in names:
        film, frame = name.rsplit('_', 1)
        frame = int(frame.strip('f'))
        if last is None or last[0] != film or frame - last[1] > 31:
            parts.append([])
        parts[-1].append(name)
        last = film, frame
    train, val = [], []
    for part in parts:
        count = max(1, round(len(part) / 15))
        starts = [i * (len(part) // count) + min(i, len(part) % count) for i in range(count + 1)]
        blocks = [range(a, b) for a, b in itertools.pairwise(starts)]
        held = {i for block in blocks[2::5] for i in block}
        val += [part[i] for i in sorted(held)]
        train += [name for i, name in enumerate(part) if not held & set(range(i - 2, i + 3))]
    assert names_in('train.txt') == train and names_in('val.txt') == val


def test_camvid_converter_reports_invalid_input(tmp_path):
    assert 'none of the folders' in convert(tmp_path, tmp_path / 'camvid').stderr
    write_tutorial_layout(tmp_path / 'unpaired')
    (tmp_path / 'unpaired/trainannot/1.png').unlink()
    assert 'only one of' in convert(tmp_path / 'unpaired', tmp_path / 'camvid').stderr
    write_tutorial_layout(tmp_path / 'wrong')
    Image.fromarray(np.full((6, 8), 30, np.uint8)).save(tmp_path / 'wrong/valannot/0.png')
    assert 'expected one channel with values 0 to 11' in convert(tmp_path / 'wrong', tmp_path / 'camvid').stderr


def test_camvid_without_image_folder_raises_file_not_found_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=str(tmp_path / 'images/train')):
        CamVidDataset(data_root=str(tmp_path), data_prefix=dict(img_path='images/train', seg_map_path='a'))


def test_real_camvid_has_the_published_number_and_size_of_images(camvid):
    pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadCheckedAnnotations', num_classes=11)]
    for split, count in (('train', 367), ('val', 101)):
        data = CamVidDataset(
            data_root=camvid,
            pipeline=pipeline,
            data_prefix=dict(img_path=f'images/{split}', seg_map_path=f'annotations/{split}'),
        )
        assert len(data) == count
        assert data[0]['img'].shape == (360, 480, 3) and data[0]['gt_seg_map'].shape == (360, 480)


def test_scene_depends_only_on_split_and_index():
    image, label = render_scene('train', 5)
    random.random(), np.random.random()
    again = render_scene('train', 5)
    assert (image == again[0]).all() and (label == again[1]).all()
    assert image.shape == (120, 160, 3) and label.shape == (120, 160) and image.dtype == label.dtype == np.uint8


def test_all_scenes_differ_within_and_across_splits():
    scenes = {render_scene(split, i)[1].tobytes() for split in ('train', 'val', 'test') for i in range(10)}
    assert len(scenes) == 30


def test_scene_has_the_requested_size():
    image, label = render_scene('val', 0, (96, 64))
    assert image.shape == (64, 96, 3) and label.shape == (64, 96)


def test_every_class_occurs_and_wires_are_thin():
    labels = np.stack([render_scene('train', i)[1] for i in range(20)])
    assert set(np.unique(labels)) == set(range(len(CLASSES)))
    wire = labels == CLASSES.index('wire')
    runs = [
        len(list(group))
        for column in wire.transpose(0, 2, 1).reshape(-1, wire.shape[1])
        for value, group in itertools.groupby(column)
        if value
    ]
    assert 2 <= np.median(runs) <= 4


def test_image_changes_more_at_label_boundaries():
    """Neighboring pixels differ more across a label boundary than within a class, despite texture and noise."""
    across, within = [], []
    for i in range(10):
        image, label = render_scene('train', i)
        step = np.abs(np.diff(image.astype(float), axis=1)).mean(2)
        boundary = label[:, 1:] != label[:, :-1]
        across.append(step[boundary].mean()), within.append(step[~boundary].mean())
    assert np.mean(across) > 1.5 * np.mean(within)


def test_changing_a_sample_does_not_change_the_cached_scene():
    data = DATASETS.build(dict(type='SyntheticScenes', num_scenes=2, pipeline=[dict(type='RenderScene')]))
    before = copy.deepcopy(data[0]['img'])
    data[0]['img'][:] = 0
    assert (data[0]['img'] == before).all()


def test_unknown_split_raises_value_error():
    with pytest.raises(ValueError, match="'valid'"):
        DATASETS.build(dict(type='SyntheticScenes', split='valid'))
