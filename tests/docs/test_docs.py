"""The examples of the documentation run, its tables show the committed results, and what it names exists."""

import json
import os.path as osp
import re
import runpy
import shutil
from glob import glob
from inspect import signature

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

from mmseg_bpkd.models.losses.bpkd import CHOICES, INVERSE_SQRT_AREA, BPKDLoss

PAGES = ['README.md', *sorted(osp.relpath(path, ROOT) for path in glob(osp.join(ROOT, 'docs/*.md')))]
GUIDES = [page for page in PAGES if 'adding_a_' in page]
generate = runpy.run_path(osp.join(ROOT, 'docs/generate.py'))
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
    (log,) = (tmp_path / 'teacher').glob('*/*.log')
    assert re.search(r'\| +tree +\|', log.read_text()) and 'trimap/mIoU@3px' in done.stdout
    options += [f'model.teacher_ckpt={tmp_path}/teacher/iter_2.pth', 'default_hooks.logger.interval=1']
    done = runs.call('train.py', student, '--work-dir', tmp_path / 'student', '--cfg-options', *options)
    values = [float(value) for value in re.findall(r'distill.loss_bpkd_edge: ([\d.]+)', done.stdout)]
    assert len(values) == 2 and min(values) > 0


@pytest.mark.slow
def test_the_example_of_a_new_pair_trains(tmp_path):
    _pair, leaf = write_examples('docs/adding_a_pair.md', tmp_path)
    teacher = tiny.save_teacher(tmp_path / 'teacher.pth', width=16, num_classes=9)
    options = [f'model.teacher_ckpt={teacher}', 'train_cfg.max_iters=2', 'default_hooks.logger.interval=1']
    options += ['train_dataloader.batch_size=2', 'train_dataloader.dataset.num_scenes=4', 'train_cfg.val_begin=3']
    done = runs.call('train.py', tmp_path / leaf, '--work-dir', tmp_path / 'run', '--cfg-options', *options)
    values = [float(value) for value in re.findall(r'distill.loss_bpkd_edge: ([\d.]+)', done.stdout)]
    assert len(values) == 2 and min(values) > 0
    state = torch.load(tmp_path / 'run/iter_2.pth')['state_dict']
    assert state['architecture.decode_head.c1_bottleneck.conv.weight'].shape == (4, 8, 1, 1)  # of a DeepLabV3+


def test_the_pages_show_the_committed_results_and_their_conclusions_hold():
    pages = generate['read_pages']()
    renewed = generate['renew'](pages)
    assert not [page for page, text in pages.items() if text != renewed[page]], 'run `make docs-blocks`'
    assert not [*generate['problems'](pages, generate['load_claims']())]


def test_a_table_of_results_is_generated_unless_make_demo_printed_it():
    page = generate['BLOCK'].sub('', read('docs/results.md'))
    rows = [line for line in page.splitlines() if re.match(r'\|.*\d\.\d\d', line)]
    assert len(rows) == 5 and rows[0].startswith('| teacher')


PAGE = '<!-- begin generated: s.py: A -->\nbefore\n<!-- end generated --> <!-- claim: holds -->'


@pytest.fixture
def script(tmp_path, monkeypatch):
    """A script that prints the sections A and B."""
    (tmp_path / 's.py').write_text('print("## A\\n\\nnew\\n\\n## B\\n\\n| x |\\n|---|")')
    monkeypatch.setitem(generate['sections'].__wrapped__.__globals__, 'ROOT', tmp_path)
    yield
    generate['sections'].cache_clear()


def test_a_generated_part_gets_what_its_script_prints(script):
    assert generate['renew'](dict(page=PAGE)) == dict(page=PAGE.replace('before', 'new'))
    inline = '<!-- begin generated: s.py: A -->before<!-- end generated -->'
    assert generate['renew'](dict(page=inline)) == dict(page=inline.replace('before', 'new'))
    with pytest.raises(ValueError, match='s.py prints no section C, only A, B'):
        generate['renew'](dict(page=PAGE.replace(': A', ': C')))


@pytest.mark.parametrize(
    ('claims', 'expected'),
    [
        (dict(holds=lambda: True), []),
        (dict(holds=lambda: False), ['the results do not support the claim holds: None']),
        ({}, ['experiments/claims.py does not have the claim holds']),
        (dict(holds=lambda: True, other=lambda: True), ['no page makes the claim other']),
    ],
)
def test_conclusions_and_tables_without_results_or_page_are_found(script, claims, expected):
    table = 's.py prints the table B, which no page shows'
    assert [*generate['problems'](dict(page=PAGE), claims)] == [table, *expected]
    at_line_start = PAGE.replace(' <!-- claim', '\n  <!-- claim')
    _, problem, *others = generate['problems'](dict(page=at_line_start), claims)
    assert problem.startswith('a claim begins a line') and others == expected


def test_the_pictures_of_the_main_comparison_were_drawn_from_its_results():
    script = runpy.run_path(osp.join(ROOT, 'experiments/camvid_stride4/pictures.py'))
    drawn = script['pictures']()
    assert all(f'docs/{name}.png' in read('docs/results.md').replace('](', '](docs/') for name in drawn)
    for name in drawn:
        assert Image.open(osp.join(ROOT, f'docs/{name}.png')).text['Description'] == script['scores']()


def test_the_grids_use_the_setting_that_the_search_chose():
    _, chosen = generate['sections']('experiments/camvid_stride4/choose.py')['Chosen'].split('_tuned = ')
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
    """The rows of the table of recipes: (file, recipe, trained layers; optimizer, departure)."""
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
