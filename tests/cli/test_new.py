"""`bpkd new` writes a config from the folders of a data set, and says what it found."""

import json
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
import runs
import tiny
from conftest import ROOT
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from test_docs import examples

from mmseg_bpkd.datasets.check import check_classes
from mmseg_bpkd.datasets.synthetic import CLASSES, render_scene
from mmseg_bpkd.fileio.package_files import load_config_file
from mmseg_bpkd.models.roles import student_config


@pytest.fixture
def scenes(tmp_path):
    """A function that writes drawn scenes, three for training and two for validation, and returns the arguments."""

    def write(change=lambda label: label, folder='data', label_suffix='.png', splits=('train', 'val'), **imwrite):
        for split, count in zip(splits, (3, 2)):
            for kind in ('images', 'labels'):
                (tmp_path / folder / kind / split).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                image, label = render_scene({'training': 'train'}.get(split, split), i)
                cv2.imwrite(str(tmp_path / folder / 'images' / split / f'{i:02d}.png'), image)
                cv2.imwrite(str(tmp_path / folder / 'labels' / split / f'{i:02d}{label_suffix}'), change(label))
        return ['--images', f'{folder}/images', '--labels', f'{folder}/labels', '--workers', 0]

    return write


def with_void(label: np.ndarray) -> np.ndarray:
    label = np.where(label == CLASSES.index('person'), 0, label).astype(np.uint8)
    label[:10] = 255
    return label


def test_the_command_says_what_it_found_and_the_config_has_it(scenes, bpkd, capsys, tmp_path):
    assert bpkd('new', 'my_data', *scenes(with_void)) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == [
        f'train: 3 images in {tmp_path}/data/images/train',
        f'val: 2 images in {tmp_path}/data/images/val',
        'classes: 8, from the label values 0 to 7',
        'void: 255',
        'images: 160x120 (width x height, median), 3 channel(s)',
        'crop: 160x96',
        'wrote my_data.py',
        'wrote my_data_teacher.py',
    ]
    lines = (tmp_path / 'my_data.py').read_text().splitlines()
    assert len(lines) <= 30 and max(map(len, lines)) <= 120 + len(str(tmp_path))
    cfg = Config.fromfile('my_data.py')
    assert cfg.model.num_classes == len(cfg.train_dataloader.dataset.metainfo.classes) == 8
    assert cfg.model.data_preprocessor.size == (96, 160) and cfg.model.data_preprocessor.mean[0] == 123.675
    assert cfg.test_dataloader == cfg.val_dataloader
    (tmp_path / 'other.py').write_text((tmp_path / 'my_data.py').read_text().replace('_base_.teacher', 'dict(x=1)'))
    (tmp_path / 'other_teacher.py').write_text(
        (tmp_path / 'my_data_teacher.py').read_text().replace('my_data.py', 'other.py')
    )
    alone = Config.fromfile('other_teacher.py').model  # a change of `teacher` reaches the pair and the teacher alone
    assert alone.x == Config.fromfile('other.py').model.teacher.x == 1 and alone.type == 'plain_segmentor'
    assert bpkd('check', 'my_data.py', '--workers', 0, '--samples', 0) == 0
    assert 'no problems found' in capsys.readouterr().out


def test_names_of_classes_other_suffixes_and_a_test_split_are_taken(scenes, bpkd, capsys, tmp_path):
    arguments = scenes(folder='other', label_suffix='_label.png', splits=('training', 'val'))
    shutil.copytree(tmp_path / 'other/images/val', tmp_path / 'other/images/test')
    assert bpkd('new', 'no_test', *arguments) == 0  # without labels, there are no metrics
    assert Config.fromfile('no_test.py').test_dataloader.dataset.data_prefix.img_path == 'images/val'
    shutil.copytree(tmp_path / 'other/labels/val', tmp_path / 'other/labels/test')
    assert bpkd('new', 'my_data', *arguments, '--classes', *CLASSES) == 0
    assert 'void: none' in capsys.readouterr().out
    cfg = Config.fromfile('my_data.py')
    data = cfg.train_dataloader.dataset
    assert (data.data_prefix.img_path, cfg.test_dataloader.dataset.data_prefix.seg_map_path) == (
        'images/training',
        'labels/test',
    )
    assert data.metainfo.classes == CLASSES and data.seg_map_suffix == '_label.png' and data.img_suffix == '.png'
    assert bpkd('check', 'my_data.py', '--workers', 0, '--samples', 0) == 0


@pytest.mark.parametrize(
    ('change', 'options', 'message'),
    [
        (lambda label: np.where(label > 4, 255, 0), [], 'may be binary masks'),
        (lambda label: np.dstack([label] * 3), [], 'must have one channel of class indices'),
        (lambda label: label.astype(np.uint16) + 300, [], 'values outside the 255 classes'),
        (lambda label: label[:100], [], 'must have the size of the image'),
        (lambda label: np.where(label == 8, 250, label), [], 'values 0 to 7, 250 and perhaps 255 for void'),
        (lambda label: label, ['--classes', 'a', 'b'], 'have the values 0 to 8, but --classes names 2 classes'),
    ],
)
def test_data_that_cannot_be_used_is_an_error_and_nothing_is_written(
    scenes, bpkd, capsys, tmp_path, change, options, message
):
    code = bpkd('new', 'my_data', *scenes(change), *options)
    assert code and message in f'{code}{capsys.readouterr().out}'
    assert not (tmp_path / 'my_data.py').exists()


def test_folders_and_names_that_cannot_be_used_are_an_error(scenes, bpkd, capsys, tmp_path):
    arguments = scenes()
    (tmp_path / 'there.py').write_text('')
    shutil.move(tmp_path / 'data/labels/val', tmp_path / 'data/labels/evaluation')
    for name, expected in (
        ('my_data', 'data/labels has no subfolder val, expected train, val and perhaps test; it contains evaluation, '),
        ('there', 'there.py exists: give another NAME'),
        ('../x', "NAME must consist of letters, digits, - and _, got '../x'"),
    ):
        assert bpkd('new', name, *arguments) == 2
        assert expected in ' '.join(capsys.readouterr().err.split())
    assert bpkd('new', 'my_data', '--images', 'nowhere', '--labels', 'data/labels') == 2
    assert 'nowhere is not a folder' in capsys.readouterr().err


def narrow(width: int) -> list:
    """Options for a PSPNet whose last stage has `width` channels, an eighth of a ResNet's."""
    options = ['model.backbone.base_channels=8', 'model.backbone.stem_channels=8', 'model.decode_head.channels=16']
    options += [f'model.decode_head.in_channels={width}', f'model.auxiliary_head.in_channels={width // 2}']
    return [*options, 'model.auxiliary_head.channels=8']


def test_mmrazors_recipe_of_the_page_trains_on_own_data(scenes, bpkd, tmp_path):
    bpkd('new', 'my_data', *scenes(with_void))
    (tmp_path / 'my_mmrazor.py').write_text(examples('docs/mmrazor.md')['my_mmrazor.py'])
    cfg = Config.fromfile('my_mmrazor.py')
    check_classes(cfg, 'train', 'val')
    assert student_config(cfg.model).decode_head.num_classes == 8
    cfg.model.teacher_ckpt = None  # random weights
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = revert_sync_batchnorm(MODELS.build(cfg.model))
    model.train()
    assert model.student.decode_head.num_classes == model.teacher.decode_head.num_classes == 8
    losses = model(**model.data_preprocessor(tiny.batch(), True), mode='loss')
    assert losses['distill.loss_bpkd'] > 0
    losses['distill.loss_bpkd'].backward()
    assert model.student.decode_head.conv_seg.weight.grad.abs().sum() > 0


def test_a_change_that_mmrazor_ignores_is_refused_with_what_to_write():
    recipe = 'mmseg_bpkd::mmrazor/bpkd-mmrazor_pspnet-r101_pspnet-r18_4xb4-80k_cityscapes-512x1024.py'
    cfg = load_config_file(recipe)
    assert student_config(cfg.model).decode_head.num_classes == 19
    cfg.model.architecture.decode_head = dict(num_classes=3)
    with pytest.raises(ValueError, match="has decode_head beside cfg_path, which MMRazor ignores: add type='plain_seg"):
        student_config(cfg.model)


def train(config: str, *options) -> None:
    """Runs `bpkd train` in a process of its own, in the working directory."""
    command = [sys.executable, '-c', 'from mmseg_bpkd.cli.main import main; main()', 'train', config]
    environment = dict(runs.ENVIRONMENT, PYTHONPATH=ROOT)
    done = subprocess.run(
        [*command, '--from-scratch', '--cfg-options', *options], capture_output=True, text=True, env=environment
    )
    assert not done.returncode, done.stderr[-3000:]


@pytest.mark.slow
def test_the_config_trains_a_teacher_and_then_a_student_outside_of_a_checkout(scenes, bpkd, tmp_path):
    assert ROOT not in str(tmp_path)
    assert bpkd('new', 'my_data', *scenes(with_void)) == 0
    options = ['train_cfg.max_iters=2', 'train_dataloader.batch_size=2', 'default_hooks.logger.interval=1']
    options += ['train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False']
    options += ['val_dataloader.num_workers=0', 'val_dataloader.persistent_workers=False']
    # Narrow networks, so that the test is quick.
    teacher, student = narrow(256), narrow(64)
    train('my_data_teacher.py', *options, *teacher)
    named = Config.fromfile('my_data.py').model.teacher_ckpt
    assert named == 'work_dirs/my_data_teacher/iter_20000.pth'
    shutil.copy('work_dirs/my_data_teacher/iter_2.pth', named)
    pair = [option.replace('model', 'model.teacher', 1) for option in teacher]
    pair += [option.replace('model', 'model.student', 1) for option in student]
    train('my_data.py', *options, *pair)
    (log,) = (tmp_path / 'work_dirs/my_data').glob('*/vis_data/scalars.json')
    steps = [json.loads(line) for line in log.read_text().splitlines()]
    assert [step['distill.loss_bpkd_edge'] > 0 for step in steps if 'distill.loss_bpkd_edge' in step] == [True, True]
    assert any('trimap/mIoU@3px' in step for step in steps)
    assert (tmp_path / 'work_dirs/my_data/iter_2.pth').is_file()
