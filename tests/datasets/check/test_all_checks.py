import os
import re

import layouts
import numpy as np
import pytest
from mmengine.config import Config
from test_content import IMAGES, masks

from mmseg_bpkd.datasets.check import check_classes, check_files, sample_problems
from mmseg_bpkd.datasets.labels import DataError


@pytest.fixture
def cfg(tmp_path):
    return Config(dict(layouts.own(str(tmp_path), IMAGES, masks(0, 1), ['a', 'b']), model=dict(type='None')))


def without_png(root):
    for name in os.listdir(root / 'images'):
        os.rename(root / 'images' / name, root / 'images' / name.replace('.png', '.jpg'))


@pytest.mark.parametrize(
    ('names', 'break_it', 'message'),
    [
        ('0\n1\n', lambda root: None, None),
        ('0.png\n1.png\n', lambda root: None, 'train: 2 images listed in .* line 1 of the list has a suffix'),
        ('0\n17\n', lambda root: None, 'train: 1 image listed in .*list.txt not found in .*: 17.png; copy or download'),
        ('', lambda root: None, r'train: the list of images .*list.txt \(ann_file\) is empty'),
        (None, without_png, 'train: no file in the image folder .* ends with .png; the files end with .jpg'),
    ],
)
def test_files_that_are_not_found_are_named_in_the_words_of_the_check(names, break_it, message, cfg, tmp_path):
    if names is not None:
        (tmp_path / 'list.txt').write_text(names)
        cfg.train_dataloader.dataset.ann_file = 'list.txt'
    break_it(tmp_path)
    if message is None:
        check_files(cfg, 'train', 'val')
        return
    with pytest.raises(DataError) as raised:
        check_files(cfg, 'train', 'val')
    assert re.match(message, str(raised.value)) and '\n' not in str(raised.value)


def test_a_data_set_without_labels_is_an_error_unless_it_is_for_testing(cfg):
    del cfg.train_dataloader.dataset.data_prefix['seg_map_path']
    with pytest.raises(DataError, match=r'train: the data set has no labels.*set data_prefix\.seg_map_path in train_'):
        check_files(cfg, 'train')
    cfg.test_dataloader = cfg.pop('train_dataloader')
    check_files(cfg, 'test')


def test_a_data_set_that_cannot_be_built_is_left_to_the_runner(cfg):
    cfg.train_dataloader.dataset.type = 'Unknown'
    check_files(cfg, 'train')
    assert sample_problems(cfg) == []


def test_a_few_labels_show_that_a_class_never_occurs(tmp_path):
    cfg = layouts.own(str(tmp_path), IMAGES, masks(0, 255), ['background', 'building'])
    (problem,) = sample_problems(Config(cfg))
    assert problem.startswith('train: background is the only class in all 4 labels read')
    cfg['train_dataloader']['dataset']['pipeline'][1]['label_map'] = {0: 0, 255: 1}
    assert sample_problems(Config(cfg)) == []


def test_rare_classes_are_not_warned_of_after_a_few_labels(tmp_path):
    cfg = layouts.own(str(tmp_path), IMAGES, masks(0, 1), ['a', 'b', 'rare'])
    assert sample_problems(Config(cfg)) == []


def test_images_of_16_bits_are_warned_of(tmp_path):
    cfg = layouts.own(str(tmp_path), [np.full((8, 9), 2047, np.uint16)] * 4, masks(0, 1), ['a', 'b'])
    (problem,) = sample_problems(Config(cfg), 2)
    assert problem.startswith('train: 2 of 2 images read have more than 8 bits per channel (11 are used)')


def test_padding_with_another_value_than_that_of_void_is_named(cfg):
    cfg.model.data_preprocessor = dict(seg_pad_val=250)
    with pytest.raises(ValueError, match=r'train: the data_preprocessor pads labels with seg_pad_val=250, but void is'):
        check_classes(cfg, 'train')
    cfg.train_dataloader.dataset.pipeline[1].ignore_index = 250
    check_classes(cfg, 'train')
