"""Properties that hold for random input: masks, bands, metrics and `--cfg-options`.

HYPOTHESIS_EXAMPLES=1000 tries more inputs.
"""

import copy
import functools
import os
import os.path as osp

import numpy as np
import oracles
import torch
from conftest import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from oracles import VOID
from scipy import ndimage

from mmseg_bpkd.config.options import merge_options
from mmseg_bpkd.evaluation.metrics import BoundaryIoU, TrimapIoU
from mmseg_bpkd.fileio.package_files import paths_of
from mmseg_bpkd.ops.boundary import boundary_band, edge_masks

quick = settings(
    max_examples=int(os.environ.get('HYPOTHESIS_EXAMPLES', 25)),
    deadline=None,
    database=None,
    derandomize='HYPOTHESIS_EXAMPLES' not in os.environ,  # the same examples in every run of the suite
    suppress_health_check=list(HealthCheck),
)
CLASSES = 4


@st.composite
def label_maps(draw, count: int = 1, classes: int = CLASSES) -> np.ndarray:
    """(count, H, W) of classes and void, from blobs to noise."""
    height, width, cell = draw(st.integers(1, 14)), draw(st.integers(1, 14)), draw(st.integers(1, 5))
    rows, columns = -(-height // cell), -(-width // cell)
    values = st.sampled_from([*range(classes), VOID])
    cells = draw(st.lists(values, min_size=count * rows * columns, max_size=count * rows * columns))
    coarse = np.array(cells).reshape(count, rows, columns)
    return coarse.repeat(cell, 1).repeat(cell, 2)[:, :height, :width]


@quick
@given(label_maps(count=2), st.integers(1, 9), st.booleans(), st.integers(1, 5), st.integers(1, 5))
def test_edge_masks_equal_the_oracle(labels, kernel_size, void_edges, rows, columns):
    size = (min(rows, labels.shape[1]), min(columns, labels.shape[2]))
    masks = edge_masks(torch.tensor(labels), CLASSES, size, kernel_size, VOID, void_edges)
    expected = oracles.edge_masks(labels, CLASSES, size, kernel_size, void_edges)
    np.testing.assert_allclose(masks, expected, atol=1e-6)


@quick
@given(label_maps(), st.integers(1, 9))
def test_edge_masks_equal_morphology_where_nothing_is_void(labels, kernel_size):
    label = np.where(labels[0] == VOID, 0, labels[0])
    masks = edge_masks(torch.tensor(label[None]), CLASSES, label.shape, kernel_size)
    for cls in range(CLASSES):
        # SciPy's window of even size reaches one pixel further up and left, as ours does
        dilated = ndimage.maximum_filter(label == cls, kernel_size, mode='nearest')
        eroded = ndimage.minimum_filter(label == cls, kernel_size, mode='nearest')
        np.testing.assert_array_equal(masks[0, cls].bool(), dilated & ~eroded)


@quick
@given(label_maps(), st.integers(1, 6))
def test_boundary_bands_equal_the_oracle(labels, half_width):
    band = boundary_band(torch.tensor(labels), half_width)[0]
    np.testing.assert_array_equal(band, oracles.boundary_band(labels[0], half_width))


@quick
@given(label_maps(), st.integers(1, 6), st.permutations(range(CLASSES)), st.booleans())
def test_boundary_bands_do_not_depend_on_names_of_classes_or_on_direction(labels, half_width, order, flip):
    renamed = np.array([*order, *[VOID] * (VOID - CLASSES + 1)])[labels]
    axis = 1 if flip else 2
    band = boundary_band(torch.tensor(labels), half_width).numpy()
    other = boundary_band(torch.tensor(np.flip(renamed, axis).copy()), half_width).numpy()
    np.testing.assert_array_equal(band, np.flip(other, axis))


def evaluated(metric, preds: np.ndarray, labels: np.ndarray) -> dict:
    metric.dataset_meta = dict(classes=tuple('abcdefgh'[:CLASSES]))
    maps = [[dict(data=torch.tensor(x[None])) for x in pair] for pair in zip(preds, labels)]
    metric.process({}, [dict(pred_sem_seg=pred, gt_sem_seg=label) for pred, label in maps])
    metric.evaluate(len(preds))
    return metric.per_class


@st.composite
def predictions(draw) -> tuple:
    labels = draw(label_maps(count=2))
    seed = draw(st.integers(0, 99))
    rng = np.random.default_rng(seed)
    wrong = rng.random(labels.shape) < draw(st.sampled_from([0, 0.1, 0.5, 1]))
    preds = np.where(wrong | (labels == VOID), rng.integers(0, CLASSES, labels.shape), labels)
    return preds, labels


@quick
@given(predictions(), st.integers(1, 5))
def test_trimap_iou_equals_the_oracle(maps, half_width):
    kept = evaluated(TrimapIoU(half_width), *maps)
    expected = oracles.trimap_iou(*maps, CLASSES, half_width)
    np.testing.assert_allclose(kept[f'trimap/IoU@{half_width}px'], expected, rtol=1e-5)


@quick
@given(predictions(), st.integers(1, 4))
def test_boundary_iou_equals_the_oracle(maps, distance):
    ratio = min(0.99, distance / float(np.hypot(*maps[1].shape[1:])))
    distance = max(1, round(ratio * float(np.hypot(*maps[1].shape[1:]))))
    kept = evaluated(BoundaryIoU(ratio), *maps)
    expected = oracles.boundary_iou(*maps, CLASSES, distance)
    np.testing.assert_allclose(kept[f'boundary/IoU@{ratio}diag'], expected, rtol=1e-5)


@functools.cache
def config() -> Config:
    name = 'bpkd_deeplabv3plus-r18w32_deeplabv3plus-r18w16_1xb6-4k_camvid-240x320.py'
    return Config.fromfile(osp.join(ROOT, 'configs/bpkd', name))


@functools.cache
def names() -> list:
    return sorted({part for path, _ in paths_of(config()) for part in path.split('.')})


@st.composite
def dotted_keys(draw) -> str:
    """A key of the config with up to two changes, or random parts."""
    paths = [path for path, _ in paths_of(config())]
    parts = draw(st.sampled_from(paths)).split('.')
    part = st.one_of(st.sampled_from(names()), st.text('abcmodel_.019-+', max_size=6), st.integers(0, 9).map(str))
    for _ in range(draw(st.integers(0, 2))):
        i = draw(st.integers(0, len(parts) - 1))
        change = draw(st.sampled_from(['swap letters', 'replace', 'insert', 'remove']))
        if change == 'swap letters' and len(parts[i]) > 1:
            j = draw(st.integers(0, len(parts[i]) - 2))
            parts[i] = parts[i][:j] + parts[i][j + 1] + parts[i][j] + parts[i][j + 2 :]
        elif change == 'remove':
            parts = parts[:i] + parts[i + 1 :] or parts
        else:
            parts = [*parts[:i], draw(part), *parts[i + (change == 'replace') :]]
    return '.'.join(parts)


@settings(quick, max_examples=4 * quick.max_examples)
@given(dotted_keys(), st.sampled_from([7, 'text', None, True, [1, 2]]), st.booleans())
def test_any_dotted_key_changes_the_config_or_is_an_error(key, value, may_be_new):
    cfg, before = copy.deepcopy(config()), config().to_dict()
    option = f'+{key}' if may_be_new else key
    try:
        merge_options(cfg, {option: value})
    except ValueError as error:
        assert str(error).startswith(f'--cfg-options {option}={value}: ') and '\n' not in str(error)
        assert cfg.to_dict() == before
        return
    parts = option.removeprefix('+').split('.')
    node = cfg
    for part in parts:
        node = node[int(part) if isinstance(node, list) else part]
    assert node == value
    assert parts[0] in cfg and {k: v for k, v in cfg.to_dict().items() if k != parts[0]} == {
        k: v for k, v in before.items() if k != parts[0]
    }
