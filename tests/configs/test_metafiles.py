"""The metafiles of the recipes contain the published results of arXiv 2306.08075, and say that they are published."""

import csv
import os.path as osp

import pytest
import yaml
from conftest import ROOT

with open(osp.join(ROOT, 'model-index.yml')) as file:
    INDEX = yaml.safe_load(file)['Import']
FOLDERS = [path.split('/')[1] for path in INDEX]
METHODS = ['bpkd', 'cwd', 'skds', 'ifvd', 'cirkd']
DATA = {
    'cityscapes': 'cityscapes-512x1024',
    'ade20k': 'ade20k-512x512',
    'pascal_context_59': 'pascal-context-59-480x480',
}
PAIRS = {
    'PSPNet R101->R18': 'pspnet-r101_pspnet-r18',
    'HRNet W48->W18s': 'fcn-hr48_fcn-hr18s',
    'DeepLabV3+ R101->MV2': 'deeplabv3plus-r101_deeplabv3plus-mv2',
    'ISANet R101->R18': 'isanet-r101_isanet-r18',
}


def models(method: str) -> list:
    with open(osp.join(ROOT, 'configs', method, 'metafile.yaml')) as file:
        return yaml.safe_load(file)['Models']


def rows_of(table: str) -> list:
    """Rows of a table of the paper, as {column: value}."""
    with open(osp.join(ROOT, 'tests/data', f'paper_{table}.csv')) as file:
        return list(csv.DictReader(line for line in file if not line.startswith('#')))


def published(table: str, method: str) -> list:
    """Rows of one method in a table of the paper."""
    return [row for row in rows_of(table) if row['method'].lower() == method]


def text_of(page: str) -> str:
    with open(osp.join(ROOT, page)) as file:
        return file.read()


def test_the_five_methods_and_the_ablations_of_the_paper_are_indexed():
    assert [*METHODS, 'ablations'] == FOLDERS


@pytest.mark.parametrize('folder', FOLDERS)
def test_each_entry_names_its_config_and_marks_its_numbers_as_published(folder):
    for model in models(folder):
        assert osp.isfile(osp.join(ROOT, model['Config']))
        assert osp.basename(model['Config']) == f'{model["Name"]}.py'
        assert 'Weights' not in model
        for result in model['Results']:
            assert all(metric.endswith('(published)') for metric in result['Metrics'])


@pytest.mark.parametrize('method', METHODS)
def test_convolutional_students_have_the_numbers_of_table_1(method):
    expected = {
        f'{method}_{PAIRS[row["pair"]]}_4xb4-80k_{DATA[row["dataset"]]}': (float(row['miou']), float(row['macc']))
        for row in published('table1', method)
    }
    found = {
        model['Name']: tuple(model['Results'][0]['Metrics'].values())
        for model in models(method)
        if 'upernet' not in model['Name']
    }
    assert found == expected and len(found) == 12


@pytest.mark.parametrize('method', METHODS)
def test_transformer_students_have_the_numbers_of_table_2(method):
    (row,) = published('table2', method)
    expected = [float(row[column]) for column in ('swin_miou', 'swin_trimap', 'deit_miou', 'deit_trimap')]
    found = [
        value
        for model in models(method)
        if 'upernet' in model['Name']
        for value in model['Results'][0]['Metrics'].values()
    ]
    assert found == expected


def test_the_ablations_have_the_numbers_of_tables_3_to_6():
    columns = {'miou': 'mIoU (published)', 'macc': 'mAcc (published)', 'trimap': 'trimap mIoU (published)'}
    expected = {
        f'configs/{row["config"]}.py': {key: float(row[column]) for column, key in columns.items() if row[column]}
        for row in rows_of('ablations')
    }
    assert {model['Config']: model['Results'][0]['Metrics'] for model in models('ablations')} == expected
    assert len(expected) == 22


def test_the_page_of_recipes_shows_the_published_ablations():
    page = text_of('docs/recipes.md')
    for row in rows_of('ablations'):
        shown = (
            f'| Table {row["table"]}, {row["row"]} | `configs/{row["config"]}.py` | {row["miou"]} | {row["trimap"]} |'
        )
        assert shown.replace('|  |', '| |') in page


def test_the_page_of_recipes_shows_the_published_table_of_transformers():
    page = text_of('docs/recipes.md')
    for row in rows_of('table2'):
        assert ' | '.join(row.values()).replace('student |', 'student alone |') in page
