"""The tables, plots and statistics of a folder of results, against SciPy and slow loops."""

import base64
import csv
import json
import os.path as osp
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from scipy import stats

from mmseg_bpkd.evaluation.metrics import BoundaryIoU, SegIoU, TrimapIoU, load_counts, save_counts
from mmseg_bpkd.grids.plots import COLORS, plots, style
from mmseg_bpkd.grids.result_tables import accuracy_table, cost_table, difference_table
from mmseg_bpkd.grids.run_results import Results, bands, main_metrics, title
from mmseg_bpkd.grids.statistics import bootstrap_interval, mean_iou, paired_difference
from mmseg_bpkd.grids.summary import summarize

CLASSES = ('road', 'car', 'person', 'never')
IMAGES = 12


def drawn_counts(seed: int) -> np.ndarray:
    """Counts of 12 images and 4 classes, the last of which does not occur: intersection, prediction and label."""
    generator = np.random.default_rng(seed)
    intersection = generator.integers(1, 50, (IMAGES, len(CLASSES)))
    predicted, labeled = (intersection + generator.integers(0, 60, intersection.shape) for _ in range(2))
    counts = np.stack([intersection, predicted, labeled], 1)
    counts[..., -1] = 0
    return counts.astype(np.int32)


def iou_by_loops(counts: np.ndarray, drawn) -> float:
    """Mean IoU of the drawn images, class by class."""
    of_classes = []
    for cls in range(counts.shape[2]):
        intersection = sum(int(counts[i, 0, cls]) for i in drawn)
        union = sum(int(counts[i, 1, cls] + counts[i, 2, cls] - counts[i, 0, cls]) for i in drawn)
        if union:
            of_classes.append(100 * intersection / union)
    return sum(of_classes) / len(of_classes)


METHODS = dict(student=(0, 1, 2), kd=(0, 1, 2), bpkd=(0, 2, 3))  # seeds
SEED_OF_COUNTS = {(name, seed): 10 * i + seed for i, name in enumerate(METHODS) for seed in METHODS[name]}


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> str:
    """Results of three methods, as the worker of a grid writes them."""
    folder = tmp_path_factory.mktemp('results')
    images = [f'{i}.png' for i in range(IMAGES)]
    for (name, seed), of_counts in SEED_OF_COUNTS.items():
        counts = dict(mIoU=drawn_counts(of_counts))
        counts['trimap/mIoU@3px'] = counts['mIoU'] // 2
        save_counts(str(folder / f'{name}-{seed}.npz'), images, counts)
        metrics = {key: round(iou_by_loops(value, range(IMAGES)), 2) for key, value in counts.items()}
        iou = {cls: 40.0 + of_counts + i for i, cls in enumerate(CLASSES[:3])}
        record = dict(
            name=name,
            seed=seed,
            config=f'configs/{name}.py',
            merge=[],
            overrides={'x': 1},
            versions=dict(torch='2.13.0', commit='abc'),
            device='CPU',
            steps=100,
            training_s=10.0 + of_counts,
            ms_per_step=100.0 + of_counts,
            peak_memory_mib=500.0,
            metrics=dict(aAcc=90.0, **metrics, **{'trimap/mIoU@5px': 1.0}),
            per_class={'IoU': dict(iou, never=None)},
            curve=[dict(step=s, seconds=s / 10, mIoU=s / 4 + of_counts) for s in (50, 100)],
        )
        (folder / f'{name}-{seed}.json').write_text(json.dumps(record))
    return str(folder)


def test_a_paired_difference_has_the_interval_of_scipy():
    generator = np.random.default_rng(1)
    for n in (2, 3, 5, 9):
        a, b = generator.normal(50, 2, n), generator.normal(49, 2, n)
        test = stats.ttest_rel(a, b)
        interval = test.confidence_interval(0.95)
        got = paired_difference(a, b)
        assert got.n == n and got.mean == pytest.approx(np.mean(a - b))
        assert got.over_seeds == pytest.approx((interval.low, interval.high))
        assert (got.verdict != 'not clear') == (test.pvalue < 0.05)


def test_equal_differences_have_an_interval_without_width_and_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        difference = paired_difference([1, 2, 3], [0.5, 1.5, 2.5])
    assert difference.over_seeds == (0.5, 0.5) and difference.verdict == 'higher'


def test_the_verdict_follows_the_interval_over_seeds():
    assert paired_difference([5, 6, 7], [1, 2, 3.1]).verdict == 'higher'
    assert paired_difference([1, 2, 3.1], [5, 6, 7]).verdict == 'lower'
    assert paired_difference([1, 9], [5, 6]).verdict == 'not clear'
    assert paired_difference([9], [1]).verdict == 'one seed'


def test_the_mean_iou_of_counts_is_that_of_loops_also_for_weighted_images():
    counts = drawn_counts(3)
    assert mean_iou(counts) == pytest.approx(iou_by_loops(counts, range(IMAGES)))
    weights = np.array([[0, 2] + 10 * [0], 12 * [1]])
    assert mean_iou(counts, weights) == pytest.approx(
        [iou_by_loops(counts, [1, 1]), iou_by_loops(counts, range(IMAGES))]
    )


@pytest.mark.parametrize('block', [1, 5])
def test_the_bootstrap_is_that_of_a_loop_over_drawn_test_sets(block):
    pairs = [(drawn_counts(4), drawn_counts(5)), (drawn_counts(6), drawn_counts(7))]
    generator = np.random.default_rng(0)
    starts = generator.integers(IMAGES, size=(300, -(-IMAGES // block)))
    differences = []
    for row in starts:
        drawn = [(start + i) % IMAGES for start in row for i in range(block)][:IMAGES]
        differences.append(np.mean([iou_by_loops(a, drawn) - iou_by_loops(b, drawn) for a, b in pairs]))
    expected = stats.scoreatpercentile(differences, [2.5, 97.5])
    assert bootstrap_interval(pairs, block, draws=300) == pytest.approx(tuple(expected))


def test_blocks_widen_the_interval_of_images_that_resemble_their_neighbors():
    """Runs of six equal images hold as much information as one image each."""
    a, b = (np.repeat(drawn_counts(seed), 6, axis=0) for seed in (8, 9))
    single, blocks = (np.ptp(bootstrap_interval([(a, b)], block, draws=2000)) for block in (1, 6))
    assert blocks > 1.5 * single


@pytest.mark.parametrize(
    ('metric', 'names'),
    [
        (SegIoU(), ['mIoU']),
        (TrimapIoU([1, 3]), ['trimap/mIoU@1px', 'trimap/mIoU@3px']),
        (BoundaryIoU(), ['boundary/mIoU@0.005diag']),
    ],
    ids=['IoU', 'trimap', 'boundary'],
)
def test_counts_of_images_give_the_metric_back(metric, names, tmp_path):
    metric.dataset_meta = dict(classes=CLASSES)
    for seed in range(3):
        maps = torch.randint(0, 3, (2, 1, 4, 6), generator=torch.Generator().manual_seed(seed))
        pred, label = maps.repeat_interleave(6, 2).repeat_interleave(6, 3)
        label[:, 0, :5] = 255
        metric.process({}, [dict(pred_sem_seg=dict(data=pred), gt_sem_seg=dict(data=label))])
    values = metric.evaluate(3)
    save_counts(str(tmp_path / 'x.npz'), ['a', 'b', 'c'], metric.per_image)
    counts = load_counts(str(tmp_path / 'x.npz'))
    assert counts.pop('images').tolist() == ['a', 'b', 'c'] and list(counts) == names
    for name, array in counts.items():
        assert array.shape == (3, 3, 4) and array.dtype == np.int32
        assert iou_by_loops(array, range(3)) == pytest.approx(values[name], abs=0.01)
    if names == ['mIoU']:  # the last image, counted directly
        agree = [int(((pred == label) & (label == cls)).sum()) for cls in range(4)]
        labeled = [int((label == cls).sum()) for cls in range(4)]
        assert counts['mIoU'][2, 0].tolist() == agree and counts['mIoU'][2, 2].tolist() == labeled


def test_the_body_is_what_lies_outside_the_band(tmp_path):
    kept = {}
    generator = torch.Generator().manual_seed(0)
    maps = torch.randint(0, 3, (3, 2, 1, 4, 6), generator=generator).repeat_interleave(6, 3).repeat_interleave(6, 4)
    metrics = {}
    for metric in (SegIoU(), TrimapIoU([1, 3])):
        metric.dataset_meta = dict(classes=CLASSES)
        for pred, label in maps:
            metric.process({}, [dict(pred_sem_seg=dict(data=pred), gt_sem_seg=dict(data=label))])
        metrics.update(metric.evaluate(3))
        kept.update(metric.per_image)
    save_counts(str(tmp_path / 'a-0.npz'), ['a', 'b', 'c'], kept)
    (tmp_path / 'a-0.json').write_text(json.dumps(dict(metrics={key: float(value) for key, value in metrics.items()})))
    intersection, predicted, labeled = (np.zeros(4) for _ in range(3))
    for pred, label in maps.numpy()[:, :, 0]:
        for y, x in np.ndindex(label.shape):
            window = label[max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4]
            if (window == label[y, x]).all():
                predicted[pred[y, x]] += 1
                labeled[label[y, x]] += 1
                intersection[label[y, x]] += pred[y, x] == label[y, x]
    results = Results(tmp_path)
    assert [name for name in results.metrics if name.startswith('body')] == ['body/mIoU@3px']
    expected = 100 * np.mean((intersection / (predicted + labeled - intersection))[:3])
    assert results.values('a', 'body/mIoU@3px') == pytest.approx([expected], abs=0.006)
    assert title('body/mIoU@3px') == 'body mIoU (3 px)'


def values_of(name: str, metric: str) -> np.ndarray:
    seeds = METHODS[name]
    counts = [drawn_counts(SEED_OF_COUNTS[name, seed]) for seed in seeds]
    if metric != 'mIoU':
        halves = [of_seed // 2 for of_seed in counts]
        counts = [whole - half for whole, half in zip(counts, halves)] if metric.startswith('body') else halves
    return np.array([round(iou_by_loops(of_seed, range(IMAGES)), 2) for of_seed in counts])


def test_the_accuracy_table_has_means_and_sample_standard_deviations(folder):
    table = accuracy_table(Results(folder, names=['student', 'kd', 'bpkd']))
    assert table.header == ['', 'seeds', 'mIoU', 'trimap mIoU (3 px)', 'body mIoU (3 px)']
    for row, name in zip(table.rows, METHODS):
        values = [values_of(name, metric) for metric in ('mIoU', 'trimap', 'body')]
        cells = [f'{np.mean(v):.2f} ± {stats.tstd(v):.2f}' for v in values]
        assert row == [name, '3', *cells]


def test_results_are_read_from_a_path_object_too(folder):
    assert list(Results(Path(folder)).runs) == list(Results(str(folder)).runs)


def test_the_difference_table_pairs_the_seeds_that_both_methods_have(folder):
    rows = {row[0]: row[1:] for row in difference_table(Results(folder), 'student', 'mIoU').rows}
    assert list(rows) == ['bpkd', 'kd']  # not the reference itself
    a, b = values_of('bpkd', 'mIoU')[:2], values_of('student', 'mIoU')[[0, 2]]  # seeds 0 and 2
    interval = stats.ttest_rel(a, b).confidence_interval(0.95)
    shown = rows['bpkd']
    assert shown[:3] == ['2', f'{np.mean(a - b):+.2f}', f'{interval.low:+.2f} to {interval.high:+.2f}']
    counts = [tuple(drawn_counts(SEED_OF_COUNTS[name, seed]) for name in ('bpkd', 'student')) for seed in (0, 2)]
    low, high = bootstrap_interval(counts)
    assert shown[3] == f'{low:+.2f} to {high:+.2f}' and rows['kd'][0] == '3'


def test_a_method_without_a_common_seed_has_a_row_that_says_so(folder):
    results = Results(folder)
    results.runs['kd'] = {5: results.runs['kd'][0]}
    rows = {row[0]: row for row in difference_table(results, 'student', 'mIoU').rows}
    assert rows['kd'] == ['kd', '0', '', '', '', 'no common seed']


def test_costs_are_means_over_the_seeds_and_ratios_to_the_reference(folder):
    rows = {row[0]: row[1:] for row in cost_table(Results(folder), 'student').rows}
    assert rows['student'] == ['100', '101', '1.00', '11 s', '500 MiB']
    assert rows['kd'] == ['100', '111', f'{111 / 101:.2f}', '21 s', '500 MiB']


@pytest.fixture(scope='module')
def written(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp('summary')
    picture = str(out / 'extra_picture.png')
    plots(Results(folder), 'student')['metrics'].savefig(picture)
    summarize(folder, str(out), against=['student', 'kd'], pictures=[picture])
    return out


def test_the_csv_has_every_run_with_every_metric(written, folder):
    with open(written / 'runs.csv') as file:
        lines = list(csv.DictReader(file))
    assert [(line['name'], int(line['seed'])) for line in lines] == sorted(SEED_OF_COUNTS)
    for line in lines:
        record = json.loads(open(osp.join(folder, f'{line["name"]}-{line["seed"]}.json')).read())
        assert {key: float(line[key]) for key in record['metrics']} == record['metrics']
        assert float(line['ms_per_step']) == record['ms_per_step']


def test_the_markdown_has_all_tables(written):
    text = (written / 'summary.md').read_text()
    headings = re.findall('^## (.*)$', text, re.MULTILINE)
    assert headings == [
        'Results',
        'mIoU: difference to student',
        'trimap mIoU (3 px): difference to student',
        'body mIoU (3 px): difference to student',
        'mIoU: difference to kd',
        'trimap mIoU (3 px): difference to kd',
        'body mIoU (3 px): difference to kd',
        'IoU of each class',
        'Cost of training',
        'Settings',
    ]
    of_classes = text.split('## IoU of each class')[1].split('##')[0]
    mean = np.mean([40 + SEED_OF_COUNTS['kd', seed] for seed in METHODS['kd']])
    assert f'| kd | {mean:.2f} | {mean + 1:.2f} | {mean + 2:.2f} |  |' in of_classes  # a class that does not occur


def test_the_report_is_one_file_with_its_pictures(written):
    page = (written / 'report.html').read_text()
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    drawn = {'metrics', 'curve_steps', 'curve_time', 'bands', 'classes_1', 'extra_picture'}
    assert {path.stem for path in written.glob('*.png')} == drawn and len(sources) == len(drawn)
    for source in sources:
        kind, _, data = source.partition(',')
        assert kind == 'data:image/png;base64' and base64.b64decode(data).startswith(b'\x89PNG')
    assert 'http' not in page and '<script' not in page and page.count('<table>') == 10
    assert '<td>one seed</td>' not in page and 'extra picture' in page


def test_curves_are_means_over_the_seeds(folder):
    figure = plots(Results(folder), 'student')['curve_time']
    (axis,) = figure.axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in axis.get_lines()}
    base = np.mean([SEED_OF_COUNTS['kd', seed] for seed in METHODS['kd']])
    assert lines['kd'] == [[5, 12.5 + base], [10, 25 + base]] and lines.keys() == METHODS.keys()


def test_every_method_has_a_look_of_its_own():
    looks = [(look['color'], look['linestyle']) for look in map(style, range(20))]
    assert len(set(looks)) == 20 and len(set(COLORS)) == len(COLORS)


def test_names_of_metrics_are_written_as_in_the_docs():
    assert title('trimap/mIoU@3px') == 'trimap mIoU (3 px)'
    assert title('boundary/mIoU@0.005diag') == 'boundary IoU (0.5 %)'
    assert title('mIoU') == 'mIoU' and title('body/mIoU') == 'body mIoU'


def test_of_several_bands_the_tables_show_one_and_the_plot_all():
    names = ['aAcc', 'mIoU', 'trimap/mIoU@1px', 'trimap/mAcc@1px', 'trimap/mIoU@3px', 'trimap/mIoU@12px']
    assert main_metrics([names, names]) == ['mIoU', 'trimap/mIoU@3px']
    assert main_metrics([names, names[:3]]) == ['mIoU', 'trimap/mIoU@1px']  # what all runs have
    assert bands(names) == {'trimap/mIoU': {1: 'trimap/mIoU@1px', 3: 'trimap/mIoU@3px', 12: 'trimap/mIoU@12px'}}


@pytest.mark.parametrize(
    ('change', 'options', 'message'),
    [
        (dict(), dict(names=['cwd']), 'no run named cwd in .*, which has bpkd, kd, student'),
        (dict(), dict(against=['cwd']), 'no run named cwd to compare with'),
        (dict(), dict(metrics=['mDice']), 'kd-0.json has no mDice, only'),
        (dict(), dict(block=0), 'block must be from 1 to 6, half of the 12 images, got 0'),
        (dict(), dict(block=7), 'block must be from 1 to 6, half of the 12 images, got 7'),
        (dict(overrides={'x': 2}), dict(), 'the runs named kd differ in overrides: .*kd-0.json.*kd-1.json'),
        (dict(metrics=dict(mIoU=1.0)), dict(), r'mIoU is 1.0 in .*kd-0.json, but [\d.]+ by the counts'),
        (None, dict(), 'kd-0.json is not the result of a run: it has no metrics'),
    ],
)
def test_results_that_cannot_be_used_are_an_error_that_says_why(folder, tmp_path, change, options, message):
    for name in ('student-0', 'kd-0', 'kd-1', 'bpkd-0'):
        for suffix in ('.json', '.npz'):
            data = open(osp.join(folder, name + suffix), 'rb').read()
            (tmp_path / (name + suffix)).write_bytes(data)
    record = json.loads((tmp_path / 'kd-0.json').read_text())
    (tmp_path / 'kd-0.json').write_text(json.dumps({} if change is None else dict(record, **change)))
    with pytest.raises(ValueError, match=message):
        summarize(str(tmp_path), str(tmp_path / 'out'), **options)


@pytest.mark.parametrize(
    ('suffix', 'content'),
    [
        ('.json', b''),
        ('.json', b'{"metrics": {"mIoU": 1'),
        ('.json', b'[]'),
        ('.json', b'\xff\xfe\0'),
        ('.json', b'{"metrics": 1}'),
        ('.json', b'{"metrics": {"mIoU": "1"}}'),
        ('.json', b'{"metrics": {"mIoU": 1}, "seed": "1"}'),
        ('.json', b'{"metrics": {"mIoU": 1}, "per_class": []}'),
        ('.npz', b''),
        ('.npz', b'half'),
        ('.npz', None),
    ],
)
def test_a_damaged_file_is_named(folder, tmp_path, suffix, content):
    for name in ('student-0', 'kd-0'):
        for each in ('.json', '.npz'):
            (tmp_path / (name + each)).write_bytes(open(osp.join(folder, name + each), 'rb').read())
    if content is None:
        np.savez(tmp_path / 'kd-0.npz', images=['a'], mIoU=np.zeros(3))
    else:
        (tmp_path / f'kd-0{suffix}').write_bytes(content)
    with pytest.raises(ValueError, match=f'kd-0{suffix} (is|holds)'):
        summarize(str(tmp_path), str(tmp_path / 'out'))


def test_names_of_a_stranger_are_neither_tags_nor_columns_nor_formulas(folder, tmp_path):
    record = json.loads(open(osp.join(folder, 'kd-0.json')).read())
    names = {'<script>alert(1)</script>': '0', 'a|b\n# c': '1', '$x_{$': '2', '[x](javascript:alert(1))': '3'}
    for name, file in names.items():
        per_class = dict(IoU={f'${name}': 1.0, 'car': 2.0})
        changed = dict(record, name=name, seed=0, overrides={name: name}, per_class=per_class)
        (tmp_path / f'{file}.json').write_text(json.dumps(changed))
    summarize(str(tmp_path), str(tmp_path / 'out'))
    text = (tmp_path / 'out/summary.md').read_text()
    assert '<' not in text and '](' not in text.replace('\\[x](', '') and '\n# c' not in text
    accuracy = text.split('## Results')[1].split('\n\n')[1].splitlines()
    assert {len(re.findall(r'(?<!\\)\|', line)) for line in accuracy} == {len(re.findall(r'\|', accuracy[1]))}
    assert '<script' not in (tmp_path / 'out/report.html').read_text()


def test_a_copy_of_a_result_is_not_a_second_seed(folder, tmp_path):
    for name in ('kd-0.json', 'kd-0 (copy).json'):
        (tmp_path / name).write_bytes(open(osp.join(folder, 'kd-0.json'), 'rb').read())
    with pytest.raises(ValueError, match='kd-0.json and .*copy.* have the same name and seed'):
        Results(str(tmp_path))


def test_files_of_the_testing_tool_are_read_by_their_name(tmp_path):
    for name, miou in (('kd_tau-4-0', 50.0), ('kd_tau-4-12', 52.0), ('teacher', 60.0)):
        (tmp_path / f'{name}.json').write_text(
            json.dumps(dict(config='c.py', checkpoint='x.pth', metrics=dict(mIoU=miou)))
        )
    summarize(str(tmp_path), str(tmp_path / 'out'))
    text = (tmp_path / 'out/summary.md').read_text()
    assert '| kd_tau-4 | 2 | 51.00 ± 1.41 |' in text and '| teacher | 1 | 60.00 |' in text


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(ValueError, match='no results in'):
        summarize(str(tmp_path), str(tmp_path / 'out'))


def test_runs_on_different_images_are_not_compared(folder, tmp_path):
    for name in ('student-0', 'kd-0'):
        for suffix in ('.json', '.npz'):
            (tmp_path / (name + suffix)).write_bytes(open(osp.join(folder, name + suffix), 'rb').read())
    counts = load_counts(str(tmp_path / 'kd-0.npz'))
    images = [f'other_{name}' for name in counts.pop('images')]
    save_counts(str(tmp_path / 'kd-0.npz'), images, counts)
    with pytest.raises(ValueError, match='were tested on different images'):
        summarize(str(tmp_path), str(tmp_path / 'out'))


def test_results_without_counts_have_no_interval_over_images(folder, tmp_path):
    for name in ('student-0', 'kd-0'):
        (tmp_path / f'{name}.json').write_bytes(open(osp.join(folder, f'{name}.json'), 'rb').read())
    (row,) = difference_table(Results(str(tmp_path)), 'student', 'mIoU').rows
    assert row[0] == 'kd' and row[3:] == ['', '', 'one seed']


def test_the_page_about_experiments_shows_a_grid_that_can_be_read(tmp_path, monkeypatch):
    from mmseg_bpkd.grids.grid_file import load_grid

    with open(osp.join(ROOT, 'docs/experiments.md')) as file:
        blocks = re.findall(r'```(python|yaml)\n(.*?)```', file.read(), re.DOTALL)
    assert blocks
    monkeypatch.chdir(ROOT)
    for language, text in blocks:
        path = tmp_path / f'grid.{dict(python="py", yaml="yaml")[language]}'
        path.write_text(text)
        grid = load_grid(str(path))
        for run in grid.runs:
            run.load()
