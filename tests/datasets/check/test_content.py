"""What `bpkd check` says about images and labels of one's own, and that its lines can be pasted."""

import re

import layouts
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, TRANSFORMS

from mmseg_bpkd.datasets.check import check_datasets, picture, splits_of

IMAGES = [np.random.default_rng(seed).integers(0, 256, (8, 9, 3), np.uint8) for seed in range(4)]


def masks(*values: int, dtype=np.uint8) -> list[np.ndarray]:
    """Labels in which the first value is the most frequent."""
    share = np.array([2 * len(values)] + [1] * (len(values) - 1))
    choose = [np.random.default_rng(seed).choice for seed in range(len(IMAGES))]
    return [draw(np.array(values, dtype), (8, 9), p=share / share.sum()) for draw in choose]


def found(cfg: dict, severity: str | None = None) -> list[str]:
    findings = check_datasets(splits_of(Config(cfg)), {}, None).findings
    return [str(finding) for finding in findings if severity in (None, finding.severity)]


def paste(cfg: dict, line: str) -> None:
    """Replaces a step of the pipeline by the line that a message has."""
    step = eval(line)
    pipeline = cfg['train_dataloader']['dataset']['pipeline']
    pipeline[step['type'] == 'LoadCheckedAnnotations'] = step


def line_in(problem: str) -> str:
    return re.search(r"dict\(type='Load\w+', .*\)(?=; if|, or check|, give|$)", problem)[0]


def loaded(cfg: dict) -> list[dict]:
    data = Config(cfg).train_dataloader.dataset
    pipeline = data.pop('pipeline')
    entries = DATASETS.build(dict(data, pipeline=[])).load_data_list()
    samples = []
    for results in sorted(entries, key=lambda entry: entry['img_path']):
        for step in pipeline:
            results = TRANSFORMS.build(step)(results)
        samples.append(results)
    return samples


COLORS = np.array([(0, 0, 0), (0, 64, 0), (9, 9, 9)], np.uint8)


@pytest.mark.parametrize(
    ('values', 'classes', 'message'),
    [
        ((0, 255), 2, 'class0 is the only class in all 4 labels read, .* binary masks'),
        ((0, 100, 200), 3, 'values outside the 3 classes in 4 of 4 labels read .*: 100, 200, expected 0 to 2, or 255'),
        ((256, 258, 300), 3, 'values outside the 3 classes .*: 256, 258, 300, expected'),
    ],
)
def test_the_line_for_other_values_can_be_pasted(values, classes, message, tmp_path):
    labels = masks(*values, dtype=np.uint16 if values[-1] > 255 else np.uint8)
    cfg = layouts.own(str(tmp_path), IMAGES, labels, [f'class{i}' for i in range(classes)])
    (problem,) = found(cfg)
    assert re.match(f'error: train: {message}', problem), problem
    paste(cfg, line_in(problem))
    assert found(cfg) == []
    for label, results in zip(labels, loaded(cfg), strict=True):
        assert (np.array(values)[results['gt_seg_map']] == label).all()


@pytest.mark.parametrize('void', [False, True])
def test_the_line_for_colors_of_the_palette_can_be_pasted(void, tmp_path):
    indices = masks(0, 1, 2) if void else masks(0, 1)
    cfg = layouts.own(str(tmp_path), IMAGES, [COLORS[label] for label in indices], ['a', 'b'])
    (problem,) = found(cfg)
    assert 'must have one channel of class indices' in problem
    paste(cfg, line_in(problem))
    assert found(cfg) == []
    for label, results in zip(indices, loaded(cfg), strict=True):
        assert (results['gt_seg_map'] == np.where(label == 2, 255, label)).all()


def test_the_line_for_other_colors_has_as_many_as_classes(tmp_path):
    colors = np.array([(200, 1, 2), (10, 200, 3)], np.uint8)
    indices = masks(0, 1)
    cfg = layouts.own(str(tmp_path), IMAGES, [colors[label] for label in indices], ['a', 'b'])
    paste(cfg, line_in(found(cfg)[0]))
    assert all((results['gt_seg_map'] == 1 - label).all() for label, results in zip(indices, loaded(cfg)))  # sorted
    cfg = layouts.own(str(tmp_path), IMAGES, [colors[label] for label in indices], ['a', 'b', 'c', 'd'])
    assert 'see "Labels with other values" in docs/adding_a_dataset.md' in found(cfg)[0]


def test_gray_labels_are_named_if_the_map_has_colors(tmp_path):
    cfg = layouts.own(str(tmp_path), IMAGES, masks(0, 1), ['a', 'b'], label_map=[(0, 0, 0), (0, 64, 0)])
    (problem,) = found(cfg)
    assert '4 of 4 labels read' in problem and 'must be color images, because label_map has colors' in problem


def test_unknown_colors_are_named(tmp_path):
    labels = [COLORS[label] for label in masks(0, 1, 2)]
    cfg = layouts.own(str(tmp_path), IMAGES, labels, ['a', 'b'], label_map=[(0, 0, 0), (0, 64, 0)])
    (problem,) = found(cfg)
    assert 'values outside the 2 classes in 4 of 4' in problem and '(9, 9, 9), expected the 2 colors' in problem


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize(('bits', 'severity'), [(11, 'error'), (12, 'error'), (16, 'warning')])
def test_images_of_16_bits_are_found_and_the_line_loads_all_of_them(bits, severity, channels, tmp_path):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 2**bits, (40, 50, channels)).astype(np.uint16).squeeze() for _ in range(2)]
    for image in images:
        image[0, 0] = 2**bits - 1
    cfg = layouts.own(str(tmp_path), images, [np.arange(2000).reshape(40, 50).astype(np.uint8) % 2] * 2, ['a', 'b'])
    (problem,) = found(cfg)
    expected = f'{severity}: train: 2 of 2 images read have more than 8 bits per channel ({bits} are used)'
    assert problem.startswith(expected) and f'leaves at most {2 ** (bits - 8)} values: 0.png, 1.png' in problem
    assert len(np.unique(loaded(cfg)[0]['img'])) == 2 ** (bits - 8)
    paste(cfg, line_in(problem))
    assert found(cfg) == []
    for image, results in zip(images, loaded(cfg), strict=True):
        assert results['img'].dtype == np.float32 and results['img'].shape == (40, 50, 3)
        assert (results['img'][..., ::-1] == (image if channels == 3 else image[..., None])).all()


def test_void_has_a_color_of_its_own_in_the_picture():
    for palette in ([(0, 0, 0), (255, 255, 255)], [(255, 0, 255)], np.random.default_rng(0).integers(0, 256, (200, 3))):
        colors = picture.with_spare_colors(palette).astype(int)
        assert colors.shape == (len(palette) + 2, 3) and (colors[:-2] == palette).all()
        others = np.abs(colors[:, None] - colors[None]).sum(2)[-2:]
        assert np.sort(others, 1)[:, 1].min() > 40


@pytest.mark.parametrize(
    ('loader', 'batch_size', 'step', 'reported'),
    [
        ('val', 2, None, True),
        ('val', 1, None, False),
        ('train', 2, None, False),
        ('val', 2, dict(type='Resize', scale=(9, 8), keep_ratio=True), True),
        ('val', 2, dict(type='Resize', scale=(9, 8)), False),
    ],
)
def test_a_batch_of_images_of_two_sizes_is_found(tmp_path, loader, batch_size, step, reported):
    images = [*IMAGES[:3], np.zeros((8, 12, 3), np.uint8)]
    labels = [np.indices(image.shape[:2]).sum(0).astype(np.uint8) % 2 for image in images]
    data = layouts.own(str(tmp_path), images, labels, ['a', 'b'])['train_dataloader']
    data['dataset']['pipeline'] += [step] if step else []
    problems = found({f'{loader}_dataloader': dict(data, batch_size=batch_size)}, 'error')
    expected = 'val_dataloader.batch_size is 2, but the images have 2 sizes: 9x'
    assert [expected in problem for problem in problems] == [True] * reported
