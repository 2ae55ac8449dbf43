"""The metafiles of the recipes contain the published results of arXiv 2306.08075, and say that they are published."""

import csv
import os.path as osp

import pytest
import yaml
from conftest import ROOT

with open(osp.join(ROOT, 'model-index.yml')) as file:
    INDEX = yaml.safe_load(file)['Import']
METHODS = [path.split('/')[1] for path in INDEX]
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


def published(table: str, method: str) -> list:
    """Rows of one method in a table of the paper, as {column: value}."""
    with open(osp.join(ROOT, 'tests/data', f'paper_{table}.csv')) as file:
        rows = csv.DictReader(line for line in file if not line.startswith('#'))
        return [row for row in rows if row['method'].lower() == method]


def test_the_five_methods_of_the_paper_are_indexed():
    assert METHODS == ['bpkd', 'cwd', 'skds', 'ifvd', 'cirkd']


@pytest.mark.parametrize('method', METHODS)
def test_each_entry_names_its_config_and_marks_its_numbers_as_published(method):
    for model in models(method):
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
