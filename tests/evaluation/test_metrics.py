import numpy as np
import oracles
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.registry import METRICS
from mmseg.evaluation import IoUMetric
from oracles import VOID

from mmseg_bpkd.datasets.labels import DataError
from mmseg_bpkd.evaluation.metrics import BoundaryIoU, SegIoU, TrimapIoU

CLASSES = ('a', 'b', 'c', 'd')


def maps(seed: int = 0) -> tuple:
    """Two predictions and two labels of 19x23 pixels: blobs of classes 0 to 2, with void. Class 3 never occurs."""
    rng = np.random.default_rng(seed)
    preds, labels = [], []
    for _ in range(2):
        label = rng.integers(0, 3, (5, 6)).repeat(4, 0).repeat(4, 1)[:19, :23]
        pred = np.where(rng.random(label.shape) < 0.2, rng.integers(0, 3, label.shape), label)
        label[rng.random(label.shape) < 0.05] = VOID
        preds.append(pred), labels.append(label)
    return preds, labels


def evaluate(metric, preds, labels) -> dict:
    metric.dataset_meta = dict(classes=CLASSES)
    data = [[dict(data=torch.as_tensor(x)[None]) for x in pair] for pair in zip(preds, labels)]
    metric.process({}, [dict(pred_sem_seg=pred, gt_sem_seg=label) for pred, label in data])
    return metric.evaluate(len(preds))


@pytest.mark.parametrize('half_width', [1, 3])
def test_trimap_iou_equals_the_oracle(half_width):
    preds, labels = maps()
    metric = TrimapIoU(half_width)
    results = evaluate(metric, preds, labels)
    expected = oracles.trimap_iou(preds, labels, 4, half_width)
    np.testing.assert_allclose(metric.per_class[f'trimap/IoU@{half_width}px'], expected, rtol=1e-5)
    assert np.isnan(expected[3])
    assert results[f'trimap/mIoU@{half_width}px'] == pytest.approx(np.nanmean(expected), abs=0.005)


def test_list_of_widths_equals_separate_metrics():
    preds, labels = maps()
    curve = evaluate(TrimapIoU([1, 2, 4]), preds, labels)
    singles = [evaluate(TrimapIoU(width), preds, labels) for width in (1, 2, 4)]
    assert curve == {key: value for single in singles for key, value in single.items()}


def test_trimap_iou_equals_miou_if_the_band_covers_the_image():
    preds, labels = maps()
    ours = evaluate(TrimapIoU(23), preds, labels)
    mmsegs = evaluate(IoUMetric(), preds, labels)
    assert {key.removeprefix('trimap/').removesuffix('@23px'): value for key, value in ours.items()} == mmsegs


def test_trimap_iou_ignores_errors_far_from_boundaries():
    label = np.zeros((1, 20, 40), int)
    label[:, :, 20:] = 1
    pred = label.copy()
    pred[:, 5:9, 2:6] = 1
    assert evaluate(TrimapIoU(3), pred, label)['trimap/mIoU@3px'] == 100
    assert evaluate(IoUMetric(), pred, label)['mIoU'] < 100


@pytest.mark.parametrize(('ratio', 'distance'), [(0.001, 1), (0.07, 2), (0.12, 4), (0.9, 27)])
def test_boundary_iou_equals_the_oracle(ratio, distance):
    """The diagonal of a 19x23 image is 29.8 pixels."""
    preds, labels = maps()
    metric = BoundaryIoU(ratio)
    results = evaluate(metric, preds, labels)
    expected = oracles.boundary_iou(preds, labels, 4, distance)
    np.testing.assert_allclose(metric.per_class[f'boundary/IoU@{ratio}diag'], expected, rtol=1e-5)
    assert results[f'boundary/mIoU@{ratio}diag'] == pytest.approx(np.nanmean(expected), abs=0.005)


def test_boundary_iou_counts_the_image_frame_as_contour():
    label = np.zeros((1, 30, 30), int)
    pred = label.copy()
    pred[0, 15, 15] = 1  # far from the frame: its 8 neighbors become contour of the prediction
    results = evaluate(BoundaryIoU(0.03), pred, label)  # d = 1
    frame = 4 * 29
    assert results['boundary/mIoU@0.03diag'] == pytest.approx(100 * np.mean([frame / (frame + 8), 0]), abs=0.005)


def test_perfect_prediction_scores_100_whatever_it_predicts_at_void():
    _, labels = maps()
    preds = [np.where(label == VOID, 3, label) for label in labels]
    for metric, key in ((TrimapIoU(2), 'trimap/mIoU@2px'), (BoundaryIoU(0.05), 'boundary/mIoU@0.05diag')):
        assert evaluate(metric, preds, labels)[key] == 100


def test_all_three_metrics_work_in_one_evaluator():
    metrics = Evaluator([dict(type='SegIoU'), dict(type='TrimapIoU'), dict(type='BoundaryIoU')])
    assert [type(metric) for metric in metrics.metrics] == [SegIoU, TrimapIoU, BoundaryIoU]
    preds, labels = maps()
    keys = [key for metric in metrics.metrics for key in evaluate(metric, preds, labels)]
    assert len(keys) == len(set(keys)) == 9


@pytest.mark.parametrize('metric', ['SegIoU', 'TrimapIoU', 'BoundaryIoU'])
def test_misspelt_argument_raises_type_error(metric):
    with pytest.raises(TypeError, match='half_widht'):
        METRICS.build(dict(type=metric, half_widht=3))


@pytest.mark.parametrize(
    ('metric', 'value'), [(TrimapIoU, 0), (TrimapIoU, []), (TrimapIoU, [3, -1]), (BoundaryIoU, 0.0), (BoundaryIoU, 1.5)]
)
def test_invalid_band_raises_value_error(metric, value):
    with pytest.raises(ValueError, match='half_width|ratio'):
        metric(value)


@pytest.mark.parametrize('settings', [{}, dict(iou_metrics=['mIoU', 'mFscore'], nan_to_num=0, beta=2, ignore_index=0)])
def test_seg_iou_gives_the_results_of_mmsegs_metric_and_keeps_their_parts(settings):
    preds, labels = maps()
    void = settings.get('ignore_index', VOID)
    labels = [np.where(label == VOID, void, label) for label in labels]
    metric = SegIoU(**settings)
    results = evaluate(metric, preds, labels)
    np.testing.assert_equal(results, evaluate(IoUMetric(**settings), preds, labels))
    for name, values in metric.per_class.items():
        assert len(values) == 4 and np.nanmean(values) == pytest.approx(results[f'm{name}'], abs=0.005)
    assert 'aAcc' not in metric.per_class and list(metric.per_image) == ['mIoU']
    for pred, label, counts in zip(preds, labels, metric.per_image['mIoU'], strict=True):
        valid = label != void
        for cls in range(4):
            of_pred, of_label = (pred == cls) & valid, (label == cls) & valid
            assert counts[:, cls].tolist() == [(of_pred & of_label).sum(), of_pred.sum(), of_label.sum()]


def test_a_second_evaluation_replaces_what_the_first_one_kept():
    preds, labels = maps()
    for metric in (SegIoU(), TrimapIoU([1, 3]), BoundaryIoU()):
        evaluate(metric, preds, labels)
        names = list(metric.per_class)
        results = evaluate(metric, labels[:1], labels[:1])  # the values of one image
        assert list(metric.per_class) == names
        assert all(np.nanmean(values) == 100 for values in metric.per_class.values())
        assert {len(counts) for counts in metric.per_image.values()} == {1}
        assert set(metric.per_image) == {name for name in results if 'mIoU' in name}


def test_format_only_writes_predictions_and_has_no_results(tmp_path):
    preds, _labels = maps()
    metric = SegIoU(format_only=True, output_dir=str(tmp_path))
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process({}, [dict(pred_sem_seg=dict(data=torch.as_tensor(preds[0])[None]), img_path='a.png')])
    assert metric.compute_metrics(metric.results) == {} == metric.per_class
    assert (tmp_path / 'a.png').is_file()


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16, torch.bool, torch.uint8])
@pytest.mark.parametrize(('metric', 'band'), [(TrimapIoU, [1, 3]), (BoundaryIoU, 0.05)])
def test_predictions_of_other_types_give_the_same_values(metric, band, dtype):
    """MMSegmentation predicts the classes of a head with one channel as floating-point numbers."""
    preds, labels = maps()
    preds, labels = [np.minimum(x, 1) for x in preds], [np.where(x == VOID, x, np.minimum(x, 1)) for x in labels]
    expected = evaluate(metric(band), preds, labels)
    assert evaluate(metric(band), [torch.tensor(x).to(dtype) for x in preds], labels) == expected
    assert all(0 < value < 100 for value in expected.values())


@pytest.mark.parametrize('metric', [SegIoU, TrimapIoU, BoundaryIoU])
def test_an_image_without_label_is_named(metric):
    metric = metric()
    metric.dataset_meta = dict(classes=CLASSES)
    sample = dict(pred_sem_seg=dict(data=torch.zeros(1, 4, 4)), img_path='images/7.png')
    with pytest.raises(DataError, match=r'^images/7\.png has no label, which metrics need: load labels'):
        metric.process({}, [sample])


@pytest.mark.parametrize('metric', [SegIoU, TrimapIoU, BoundaryIoU])
@pytest.mark.parametrize('value', [4, 200, -1])
def test_a_label_value_that_is_neither_class_nor_void_is_named(metric, value):
    label = np.zeros((5, 6), int)
    label[:, 3:] = value
    with pytest.raises(DataError, match=rf'values {value}, expected classes 0 to 3, or 255 for void'):
        evaluate(metric(), [np.zeros_like(label)], [label])
    label[:, 3:] = VOID
    evaluate(metric(), [np.zeros_like(label)], [label])


@pytest.mark.parametrize('metric', [SegIoU, TrimapIoU, BoundaryIoU])
def test_images_of_one_pixel_are_evaluated(metric):
    results = evaluate(metric(), [np.zeros((1, 1), int)] * 2, [np.zeros((1, 1), int)] * 2)
    ours = next(value for name, value in results.items() if 'mIoU' in name)
    assert np.isnan(ours) if metric is TrimapIoU else ours == 100


def test_classes_that_occur_in_no_label_are_warned_of_once(monkeypatch):
    warnings = []
    monkeypatch.setattr(MMLogger, 'warning', lambda self, text: warnings.append(text))
    preds, labels = maps()
    for metric in (SegIoU(), TrimapIoU(), BoundaryIoU()):
        evaluate(metric, preds, labels)
        evaluate(metric, preds, labels)
    assert len(warnings) == 1 and warnings[0].startswith('1 of 4 classes occur in none of the 2 labels: d.')
    labels[0][0, 0] = 3
    evaluate(SegIoU(), preds, labels)
    assert len(warnings) == 1
