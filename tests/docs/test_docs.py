"""The examples of the documentation run, its tables show the committed results, and what it names exists."""

import io
import json
import os.path as osp
import re
import runpy
import shutil
from collections import Counter
from contextlib import redirect_stdout
from functools import cache
from glob import glob
from inspect import signature
from unittest import mock

import layouts
import numpy as np
import pytest
import runs
import tiny
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import MODELS
from mmseg.evaluation import IoUMetric
from PIL import Image

from benchmarks import tables
from mmseg_bpkd.datasets.synthetic import render_scene
from mmseg_bpkd.grids.run_results import Results
from mmseg_bpkd.models.losses.bpkd import CHOICES, INVERSE_SQRT_AREA, BPKDLoss
from mmseg_bpkd.ops.boundary import edge_masks

PAGES = ['README.md', *sorted(osp.relpath(path, ROOT) for path in glob(osp.join(ROOT, 'docs/*.md')))]
GUIDES = [page for page in PAGES if 'adding_a_' in page]
LEAF = 'configs/bpkd/bpkd_pspnet-r101_pspnet-r18_4xb4-80k_cityscapes-512x1024.py'


def read(path: str) -> str:
    with open(osp.join(ROOT, path)) as file:
        return file.read()


def words_of(page: str) -> str:
    return ' '.join(read(page).split())


def python_blocks(page: str) -> list:
    return re.findall(r'```python\n(.*?)```', read(page), re.DOTALL)


def examples(page: str) -> dict:
    """{file name: content} of the Python blocks, each of which follows a line that starts with the name of its file."""
    return dict(re.findall(r'^`([\w./-]+\.py)`[^\n]*:\n\n```python\n(.*?)```', read(page), re.DOTALL | re.MULTILINE))


def write_examples(page: str, folder) -> dict:
    """Writes the examples of a guide, unchanged, beside a copy of the configs."""
    shutil.copytree(osp.join(ROOT, 'configs'), folder / 'configs')
    files = examples(page)
    for name, content in files.items():
        assert not (folder / name).exists(), f'the example {name} of {page} has the name of a file of the repository'
        (folder / name).write_text(content)
    return files


@pytest.mark.parametrize('page', GUIDES)
def test_every_block_of_a_guide_is_a_file_that_a_test_can_write(page):
    assert list(examples(page).values()) == python_blocks(page) != []


@pytest.mark.slow
def test_the_example_of_a_new_method_trains(tmp_path):
    files = write_examples('docs/adding_a_method.md', tmp_path)
    lines = [line for content in files.values() for line in content.splitlines() if line.strip()]
    assert len(lines) <= 30
    path = runs.write_config(tmp_path, 4, tmp_path / 'configs/my_method.py')
    done = runs.call('train.py', path, '--work-dir', tmp_path / 'run', python_path=tmp_path)
    values = [float(value) for value in re.findall(r'distill.loss_mine: ([\d.]+)', done.stdout)]
    assert len(values) == 4 and min(values) > 0
    state = torch.load(tmp_path / 'run/iter_4.pth')['state_dict']
    assert state['distiller.distill_losses.loss_mine.projector.weight'].shape == (16, 8, 1, 1)


@pytest.mark.slow
def test_the_example_of_a_new_metric_is_reported_beside_the_others(tmp_path):
    write_examples('docs/adding_a_metric.md', tmp_path)
    path = runs.write_config(tmp_path, base=tmp_path / 'configs/my_metric.py')
    student = tiny.save_teacher(tmp_path / 'student.pth', width=4, num_classes=9)
    folders = ('--out', tmp_path / 'results.json', '--work-dir', tmp_path / 'test')
    runs.call('test.py', path, student, *folders, python_path=tmp_path)
    results = json.loads((tmp_path / 'results.json').read_text())
    assert {'mIoU', 'trimap/mIoU@3px', 'boundary/mIoU@0.005diag', 'body/mIoU'} <= results['metrics'].keys()
    assert len(results['per_class']['body/IoU']) == 9


def test_the_example_of_a_new_metric_does_not_see_errors_at_boundaries():
    namespace = {}
    exec(examples('docs/adding_a_metric.md')['my_metric.py'], namespace)
    label = np.zeros((20, 40), int)
    label[:, 20:] = 1
    at_boundary, in_body = label.copy(), label.copy()
    at_boundary[:, 20:23] = 0
    in_body[:, 30:33] = 0

    def miou(metric: IoUMetric, pred: np.ndarray) -> float:
        metric.dataset_meta = dict(classes=('left', 'right'))
        maps = dict(pred_sem_seg=pred, gt_sem_seg=label)
        metric.process({}, [{name: dict(data=torch.tensor(value[None])) for name, value in maps.items()}])
        return next(value for name, value in metric.evaluate(1).items() if name.endswith('mIoU'))

    assert miou(namespace['BodyIoU'](half_width=3), at_boundary) == 100 > miou(IoUMetric(), at_boundary)
    assert miou(namespace['BodyIoU'](half_width=3), in_body) < 100


def write_my_data(folder) -> tuple:
    """Writes the examples of the guide to data sets, with generated images.

    Returns:
        The paths of the configs (data set, pair, teacher, student), and options with the place of the images.
    """
    names = write_examples('docs/adding_a_dataset.md', folder)
    root = str(folder / 'my_data')
    for split, seeds in (('train', range(4)), ('val', range(4, 8))):
        for seed in seeds:
            label = layouts.blocks(seed, [0, 1, 2, 255], (64, 48))
            layouts.save(label, root, 'annotations', split, f'{seed:04d}.png')
            layouts.save(layouts.picture(seed, label), root, 'images', split, f'{seed:04d}.jpg')
    return [folder / name for name in names], layouts.data_root_options(root)


@pytest.mark.slow
def test_the_example_of_a_new_data_set_passes_the_check(tmp_path):
    (config, *_), options = write_my_data(tmp_path)
    arguments = ('--workers', 0, '--out', tmp_path / 'check', '--cfg-options', *options)
    done = runs.call('check_dataset.py', config, *arguments)
    assert 'error:' not in done.stdout and 'warning:' not in done.stdout
    assert osp.isfile(tmp_path / 'check/report.json')


@pytest.mark.slow
def test_the_example_of_a_new_data_set_trains_a_teacher_and_then_a_student(tmp_path):
    (_, _, teacher, student), options = write_my_data(tmp_path)
    named = Config.fromfile(student).model.teacher_ckpt
    assert named == f'work_dirs/{teacher.stem}/iter_{Config.fromfile(teacher).train_cfg.max_iters}.pth'
    options += ['train_cfg.max_iters=2', 'train_dataloader.batch_size=2']
    done = runs.call('train.py', teacher, '--work-dir', tmp_path / 'teacher', '--cfg-options', *options)
    assert re.search(r'\| +tree +\|', done.stdout) and 'trimap/mIoU@3px' in done.stdout
    options += [f'model.teacher_ckpt={tmp_path}/teacher/iter_2.pth', 'default_hooks.logger.interval=1']
    done = runs.call('train.py', student, '--work-dir', tmp_path / 'student', '--cfg-options', *options)
    values = [float(value) for value in re.findall(r'distill.loss_bpkd_edge: ([\d.]+)', done.stdout)]
    assert len(values) == 2 and min(values) > 0


@pytest.mark.slow
def test_the_example_of_a_new_pair_trains(tmp_path):
    pair, leaf = write_examples('docs/adding_a_pair.md', tmp_path)
    teacher = tiny.save_teacher(tmp_path / 'teacher.pth', width=16, num_classes=9)
    options = [f'model.teacher_ckpt={teacher}', 'train_cfg.max_iters=2', 'default_hooks.logger.interval=1']
    options += ['train_dataloader.batch_size=2', 'train_dataloader.dataset.num_scenes=4', 'train_cfg.val_begin=3']
    done = runs.call('train.py', tmp_path / leaf, '--work-dir', tmp_path / 'run', '--cfg-options', *options)
    values = [float(value) for value in re.findall(r'distill.loss_bpkd_edge: ([\d.]+)', done.stdout)]
    assert len(values) == 2 and min(values) > 0
    state = torch.load(tmp_path / 'run/iter_2.pth')['state_dict']
    assert state['architecture.decode_head.c1_bottleneck.conv.weight'].shape == (4, 8, 1, 1)  # of a DeepLabV3+


@cache
def printed_by(script: str) -> str:
    with redirect_stdout(io.StringIO()) as printed, mock.patch('sys.argv', [script]):
        runpy.run_path(osp.join(ROOT, script), run_name='__main__')
    return printed.getvalue()


def rows_of(text: str) -> list:
    return [line for line in text.splitlines() if line.startswith('|')]


def test_the_readme_repeats_the_main_comparison():
    shown = [line for line in read('README.md').splitlines() if re.match(r'\| .* ± ', line)]
    printed = rows_of(printed_by('experiments/camvid_stride4/table.py'))
    assert len(shown) == 6 and not [line for line in shown if line not in printed]


CAMVID = 'experiments/camvid_stride4'
THREE_METRICS = ('mIoU', 'trimap/mIoU@3px', 'boundary/mIoU@0.005diag')


def scores(run: str) -> np.ndarray:
    """mIoU, trimap mIoU and boundary IoU of a run in `experiments/`."""
    found = json.loads(read(f'experiments/{run}.json'))['metrics']
    return np.array([found[key] for key in THREE_METRICS])


def test_the_text_about_pixel_accuracy_says_what_the_results_say():
    def accuracy(folder: str, name: str, seeds: int) -> float:
        runs = [json.loads(read(f'experiments/{folder}/{name}-{seed}.json')) for seed in range(seeds)]
        return np.mean([run['metrics']['aAcc'] for run in runs])

    page = words_of('docs/results.md')
    on_camvid = [accuracy('camvid_stride4/main', name, 5) for name in ('student', 'kd', 'nfd', 'cwd', 'bpkd')]
    listed = 'student alone {:.2f}, KD {:.2f}, NFD {:.2f}, CWD {:.2f}, BPKD {:.2f}'.format(*on_camvid)
    assert f'**Pixel accuracy** ranks differently: {listed}.' in page
    assert f'in pixel accuracy, KD is {on_camvid[1] - on_camvid[4]:.2f} ahead' in page
    kd, cwd, bpkd = (accuracy('demo/results', name, 3) for name in ('kd', 'cwd', 'bpkd'))
    assert f'more wrong pixels than CWD and KD: it is {cwd - bpkd:.1f} and {kd - bpkd:.1f} points behind' in page
    assert cwd > bpkd  # so says README, too


def test_the_text_about_the_demo_says_what_its_results_say():
    page = words_of('docs/results.md')
    runs = {m: np.array([scores(f'demo/results/{m}-{i}') for i in range(3)]) for m in ('student', 'kd', 'cwd', 'bpkd')}
    lead = (runs['bpkd'] - runs['cwd']).mean(0)
    assert 'lead over CWD is {:.1f} mIoU, {:.1f} trimap mIoU and {:.1f} boundary IoU'.format(*lead) in page
    assert all((runs['bpkd'] > other).all() for name, other in runs.items() if name != 'bpkd')  # "with every seed"
    assert all((other > runs['student']).all() for name, other in runs.items() if name != 'student')
    tuned, default = ([scores(f'demo/settings/{n}-{i}') for i in (0, 1)] for n in ('cwd_tuned', 'bpkd_edge5'))
    cost = np.mean(tuned, axis=0) - np.mean(default, axis=0)
    assert f'mask and edge term together cost {cost[0]:.1f} mIoU' in page


def test_the_text_about_the_networks_says_what_their_results_say():
    ious = json.loads(read(f'{CAMVID}/long/teacher.json'))['per_class']['IoU']
    least, second = sorted(ious.values())[:2]
    assert least == ious['pole'] and second >= 33
    assert f'it has {least:.1f} % IoU on poles and at least 33 % on each other' in words_of('docs/results.md')


def test_the_text_about_the_main_comparison_says_what_its_results_say():
    results = Results(osp.join(ROOT, 'experiments/camvid_stride4/main'))
    cwd, trimap = (results.difference('bpkd', 'cwd', metric, 15) for metric in ('mIoU', 'trimap/mIoU@3px'))
    nfd = results.difference('bpkd', 'nfd', 'boundary/mIoU@0.005diag', 15)
    lead = f'is {cwd.mean:.2f} mIoU and {trimap.mean:.2f} trimap mIoU'
    assert f'**BPKD is not clearly better than CWD:** with five seeds, its lead {lead}.' in words_of('README.md')
    page = words_of('docs/results.md')
    assert f"BPKD's lead {lead}, and all confidence intervals of both include 0" in page and cwd.n == 5
    assert f'NFD is {-nfd.mean:.2f} above BPKD, which is clear' in page
    alone = [results.difference('bpkd', 'student_same_time', metric, 15) for metric in THREE_METRICS]
    leads = '{:.2f} mIoU, {:.2f} trimap mIoU and {:.2f} boundary IoU'.format(*(found.mean for found in alone))
    assert f'BPKD is {leads} better than the student alone with as much time, clearly' in page
    assert min(min(found.over_seeds + found.over_images) for found in alone) > 0
    of_nfd = results.difference('nfd', 'student_same_time', THREE_METRICS[2], 15).mean
    of_kd = results.difference('kd', 'student_same_time', 'mIoU', 15).mean
    assert f'NFD is not, but it is {of_nfd:.2f} ahead in boundary IoU. KD is {-of_kd:.2f} mIoU behind.' in page
    on_gpu = scores('camvid_stride4/results/1000/bpkd-0') - scores('camvid_stride4/results/1000/student-0')
    assert f'only {on_gpu[0]:.2f} mIoU above the student alone' in page and on_gpu[1] < 0  # "below it"
    of_cwd = (cwd.over_seeds, cwd.over_images, trimap.over_seeds, trimap.over_images)
    assert cwd.over_seeds[1] < 1 and cwd.over_images[1] < 1 and trimap.over_seeds[1] < 3 and trimap.over_images[1] < 3
    widths = [results.difference('bpkd', 'cwd', f'trimap/mIoU@{width}px', 15) for width in (1, 2, 3, 5, 8, 12)]
    assert [found.mean > 0 for found in widths] == [False, False, True, True, True, True]
    assert all(low < 0 < high for low, high in (found.over_seeds for found in widths))  # "none is clear"
    assert all(low < 0 < high for low, high in of_cwd) and max(nfd.over_seeds + nfd.over_images) < 0
    for name in ('student', 'kd'):
        differences = [results.difference('bpkd', name, metric, 15) for metric in results.metrics]
        assert min(min(found.over_seeds + found.over_images) for found in differences) > 0  # "in every metric"


def test_the_text_about_the_parts_of_the_loss_says_what_their_results_say():
    def of(name: str) -> np.ndarray:
        folder = 'main' if name in ('student', 'cwd', 'bpkd') else 'paper_tables'
        return scores(f'camvid_stride4/{folder}/{name}-0')

    body = of('bpkd_body-positions')
    without_prm = of('bpkd_pom') - of('bpkd_edge-classes')
    over_positions = of('bpkd_edge-positions') - of('bpkd_edge-classes')
    page = words_of('docs/results.md')
    by_softmax = (body - of('bpkd_body-classes'))[0]
    assert f'its softmax over positions is {by_softmax:.1f} mIoU better than over classes' in page
    assert 'softmax over positions is {:.1f} mIoU and {:.1f} trimap mIoU better.'.format(*over_positions) in page
    alone, added, masked = body - of('student'), of('bpkd') - body, of('cwd') - body
    assert 'Alone, it is {:.1f} mIoU and {:.1f} trimap mIoU above the student alone'.format(*alone) in page
    assert 'it adds {:.1f} mIoU, {:.1f} trimap mIoU and {:.1f} boundary IoU'.format(*added) in page
    assert 'alone is {:.1f} mIoU and {:.1f} trimap mIoU better without it'.format(*without_prm) in page
    assert 'body term alone is {:.1f} mIoU and {:.1f} trimap mIoU lower than without'.format(*masked) in page
    spread = np.std([scores(f'camvid_stride4/main/bpkd-{seed}') for seed in range(5)], axis=0, ddof=1)
    assert 'deviation of {:.1f} mIoU, {:.1f} trimap mIoU and {:.1f} boundary IoU'.format(*spread) in page
    noise = 'less than {:.1f} mIoU, {:.1f} trimap mIoU and {:.1f} boundary IoU'.format(*2 * 2**0.5 * spread)
    assert noise in page  # two standard deviations of the difference of two runs


def test_the_text_about_the_cost_says_what_its_results_say():
    page = words_of('docs/results.md')
    first, second = (json.loads(read(f'{CAMVID}/{name}.json'))['step'] for name in ('step', 'step_again'))
    ratios = ['{:.2f}x ({})'.format(step['ratio'], step['config'].split('/')[1].upper()) for step in second[1:]]
    assert f'a second measurement gave {", ".join(ratios[:-1])} and {ratios[-1]}' in page
    memory = [step['memory_ratio'] for step in first[1:]]
    assert f'is {min(memory):.2f}x to {max(memory):.2f}x that of the student alone' in page


def test_the_text_about_hires_cam_says_what_its_results_say():
    networks = json.loads(read(f'{CAMVID}/cam.json'))['networks']
    groups = {}
    for run, shares in networks.items():
        groups.setdefault(run.rsplit('-', 1)[0], []).append(100 * np.mean([np.mean(shares[cls]) for cls in shares]))
    means = {name: np.mean(values) for name, values in groups.items()}
    gain = f'is {means["bpkd"] - means["student"]:.1f} points higher with BPKD than for the student alone'
    assert gain in words_of('docs/results.md') and means['bpkd'] > means['teacher']
    spread = np.std(groups['bpkd'], ddof=1)
    assert all(means['bpkd'] - means[name] < spread for name in ('nfd', 'cwd'))  # "within the spread"
    assert means['kd'] - means['student'] < spread


def test_the_correlation_with_the_entropy_is_the_printed_one():
    printed = printed_by('experiments/camvid_stride4/table.py')
    as_it_is, unit_scale = re.search(r'Correlation with trimap mIoU: (\S+), and (\S+) at', printed).groups()
    sentence = f'the correlation with trimap mIoU is {as_it_is} for the activation as it is, and {unit_scale} at unit'
    assert sentence in words_of('docs/results.md')


def test_the_pictures_of_the_main_comparison_were_drawn_from_its_results():
    script = runpy.run_path(osp.join(ROOT, 'experiments/camvid_stride4/pictures.py'))
    drawn = script['pictures']()
    assert all(f'docs/{name}.png' in read('docs/results.md').replace('](', '](docs/') for name in drawn)
    for name in drawn:
        assert Image.open(osp.join(ROOT, f'docs/{name}.png')).text['Description'] == script['scores']()


def test_the_numbers_in_the_text_about_all_methods_are_those_of_the_results():
    def metrics(path: str) -> list:
        return [f'{value:.2f}' for value in scores(f'camvid_stride4/{path}-0')]

    alone, half, full = (metrics(f'{folder}/student') for folder in ('results/1000', 'main', 'below_student'))
    sentence = f'has {alone[0]} mIoU on the GPU, but {half[0]} on a CPU in bfloat16 and {full[0]} on a CPU in float32'
    assert sentence in words_of('docs/results.md')
    assert f'Only boundary IoU is close: {alone[2]}, {half[2]}, {full[2]}' in words_of('docs/results.md')
    methods = [method for method, *_ in recipes()]
    runs = [[float(value) for value in metrics(f'results/1000/{method}')] for method in methods]
    above = [sum(run[i] > float(alone[i]) for run in runs) for i in range(3)]
    counts = '{} of 19 methods in mIoU, {} in trimap mIoU, {} in boundary IoU'.format(*above)
    page = words_of('docs/results.md')
    assert len(runs) == 19 and counts in page
    on_cpu = [scores(f'camvid_stride4/main/student-{seed}') for seed in range(5)]
    assert 'their means are {:.2f}, {:.2f} and {:.2f}'.format(*np.mean(on_cpu, axis=0)) in page
    assert np.argmin(on_cpu, axis=0)[0] == 1  # "the lowest of five"
    in_search = scores('camvid_stride4/tuning/bpkd_edge5-0') - scores('camvid_stride4/tuning/student-0')
    assert f'there BPKD was {in_search[0]:.2f} mIoU above the student alone' in page


def test_the_text_about_the_second_runs_says_what_the_results_print():
    printed = printed_by('experiments/camvid_stride4/table.py').split(' methods with two runs')[1]
    found = re.findall(r'^(.+): (\S+), (\d+)$', printed, re.MULTILINE)
    ranks = '{} in mIoU, {} in trimap mIoU and {} in boundary IoU'.format(*(rank for _, rank, _ in found))
    above = '{} of 15 methods in mIoU, {} in trimap mIoU and {} in boundary IoU'.format(*(n for *_, n in found))
    page = words_of('docs/results.md')
    assert f'The rank correlation of the runs is {ranks}.' in page
    assert f'**Above the student alone in both runs:** {above}.' in page


def test_the_text_about_aicsd_and_wavelet_says_what_their_results_say():
    page = words_of('docs/results.md')
    student, wavelet, aicsd = (
        scores(f'camvid_stride4/below_student/{name}-0')
        for name in ('student', 'wavelet_tenth', 'aicsd_constant_weights')
    )
    assert 'it is {:.1f} mIoU and {:.1f} trimap mIoU below the student alone'.format(*student - wavelet) in page
    assert f'it is still {(student - aicsd)[0]:.1f} mIoU below the student alone' in page


def test_the_search_is_what_its_results_print_and_the_grids_use_it():
    tables, chosen = printed_by('experiments/camvid_stride4/choose.py').split('_tuned = ')
    rows = rows_of(tables)
    assert len(rows) > 25 and not [row for row in rows if row not in read('docs/results.md')]
    assert Config.fromfile(osp.join(ROOT, 'experiments/camvid_stride4/tuned.py'))._tuned.to_dict() == json.loads(chosen)


def test_the_config_that_the_readme_shows_exists():
    assert python_blocks('README.md') == [read(LEAF)]


def test_the_readme_has_at_most_100_lines():
    assert len(read('README.md').splitlines()) <= 100


@pytest.mark.parametrize('page', PAGES)
def test_what_a_page_names_exists(page):
    text = re.sub(r'\]\(http[^)]*\)', ']', read(page))  # without the files of other repositories
    named = set(re.findall(r'(?:configs|tools|experiments|benchmarks|tests|mmseg_bpkd|docs)/[\w./-]+\.\w+', text))
    linked = {osp.join(osp.dirname(page), link) for link in re.findall(r'\]\((?!http)([\w./-]+)', text)}
    paths = (named - examples(page).keys()) | linked
    assert not [path for path in sorted(paths) if not osp.exists(osp.join(ROOT, path))]


def recipes() -> list:
    """The rows of the table of recipes: (file, recipe, trained layers; optimiser, departure)."""
    section = read('docs/methods.md').split('\n## Recipes\n')[1].split('\n## ')[0]
    return re.findall(r'^\| `(\w+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$', section, re.MULTILINE)


def test_the_section_on_bpkd_names_every_argument_and_option_of_the_loss():
    section = read('docs/methods.md').split('\n## BPKD\n')[1].split('\n## ')[0]
    names = {*signature(BPKDLoss).parameters} - {'ignore_index'}
    names |= {repr(option) for options in CHOICES.values() for option in options if option} | {repr(INVERSE_SQRT_AREA)}
    code = ' '.join(re.findall(r'`([^`]+)`', re.sub(r'```.*?```', '', section, flags=re.DOTALL)))
    assert not [name for name in sorted(names) if name not in code]


def test_every_method_has_one_recipe():
    files = glob(osp.join(ROOT, 'configs/_base_/distillers/*.py'))
    assert sorted(name for name, *_ in recipes()) == sorted(osp.basename(file)[:-3] for file in files)


def test_a_recipe_links_to_the_file_and_commit_that_it_names():
    for method, recipe, *_ in recipes():
        sources = re.findall(r'(\S+/\S+) (\w+), \[([^]]+)\]\(https://github.com/([^)]+)\)', recipe)
        assert len(sources) == recipe.count('http') and (sources or recipe.startswith('paper only')), method
        for repository, commit, file, link in sources:
            full = re.fullmatch(rf'{repository}/blob/([0-9a-f]{{40}})/(\S+/)?{re.escape(file)}', link)
            assert full and commit == full[1][:7], method


def test_a_recipe_says_whether_layers_are_trained_and_whether_adam_trains_them():
    for method, _, layers, _ in recipes():
        losses = Config.fromfile(osp.join(ROOT, f'configs/_base_/distillers/{method}.py')).distiller.losses
        built = [MODELS.build(config) for config in losses.values()]
        for loss in built:
            loss.build_layers(**dict.fromkeys(signature(loss.build_layers).parameters, 16))
        assert (layers != 'none') == any(loss.align or [*loss.parameters()] for loss in built), method
        options = [option for loss in built for option in loss.optim_options.values()]
        assert ('Adam' in layers) == any(option.get('optimizer') for option in options), method


@pytest.mark.parametrize('path', tables.RESULTS, ids=lambda path: path.stem)
def test_every_table_of_a_benchmark_is_what_its_results_print(path):
    pages = [read(page) for page in ('docs/speed.md', 'docs/methods.md', 'docs/usage.md')]
    shown = [line.strip() for page in pages for line in page.splitlines()]
    printed = [line for line in tables.lines(path) if line]
    name = tables.benchmark_of(path)
    results = json.loads(path.read_text())[name]
    assert len(printed) == 2 * len(tables.TABLES[name]) + len(tables.rows(name, results))  # no result is left out
    assert len(printed) > 2 and not [line for line in printed if line not in shown]


@pytest.mark.parametrize(
    ('experiment', 'pages'),
    [
        ('camvid_stride4', ['README.md', 'docs/results.md']),
        ('demo', ['docs/results.md']),
        ('archive/camvid_cpu_pair', ['docs/archive.md']),
        ('archive/methods', ['docs/archive.md']),
    ],
)
def test_every_table_of_an_experiment_is_what_its_results_print(experiment, pages):
    rows = rows_of(printed_by(f'experiments/{experiment}/table.py'))
    assert len(rows) > 2 and not [row for row in rows if not any(row in read(page) for page in pages)]


def test_the_page_of_results_has_no_row_that_is_not_printed():
    def measured(text: str) -> Counter:
        return Counter(row for row in rows_of(text) if re.search(r'\d\.\d\d', row))

    before, after = read('docs/results.md').split('* **One run:**')
    one_run, after = after.split('\n### ', 1)
    assert len(measured(one_run)) == 5  # of `make demo`, which prints other numbers on other machines
    scripts = ('camvid_stride4/table.py', 'camvid_stride4/choose.py', 'demo/table.py')
    printed = ''.join(printed_by(f'experiments/{script}') for script in scripts)
    assert sum(measured(printed).values()) > 60 and measured(before + after) == measured(printed)


def test_the_share_of_cells_with_an_edge_in_the_demo_is_computed():
    labels = torch.stack([torch.from_numpy(render_scene('test', i)[1].astype('int64')) for i in range(20)])
    seven, three = (100 * (edge_masks(labels, 9, (30, 40), size).amax(1) > 0).float().mean().item() for size in (7, 3))
    page = words_of('docs/results.md')
    assert f'{seven:.0f} % of the cells touch an edge' in page and f'With 3 pixels it is {three:.0f} %' in page


@pytest.mark.parametrize(
    ('machine', 'sentence'),
    [
        ('2_cores', '{of the time:.2f}x to 0.94x the time and {of the memory:.2f}x to 0.92x the memory of MMRazor'),
        ('h100', 'On one NVIDIA H100, it takes {of the time:.2f}x the time and {of the memory:.2f}x the memory'),
    ],
)
def test_the_readme_repeats_the_measured_cost_of_a_step(machine, sentence):
    (path,) = (path for path in tables.RESULTS if path.stem == f'budgets_{machine}')
    results = json.loads(path.read_text())['budgets']
    measured = {r['of']: r['value'] for r in results if r['what'].startswith('step of BPKD, 19 classes, 512x1024')}
    assert sentence.format(**measured) in words_of('README.md')
    assert 'Two further runs measured 0.92x the memory, and 0.91x and 0.94x the time' in words_of('docs/speed.md')
