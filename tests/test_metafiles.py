"""The published results beside the recipes."""

import csv
import os.path as osp
import re

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


@pytest.fixture
def paper() -> str:
    folder = osp.join(ROOT, '../shared/paper')
    if not osp.isdir(folder):
        pytest.skip('the published tables are not here')
    return folder


def test_the_papers_five_methods_are_indexed():
    assert METHODS == ['bpkd', 'cwd', 'skds', 'ifvd', 'cirkd']


@pytest.mark.parametrize('method', METHODS)
def test_an_entry_names_its_config_and_says_that_its_numbers_are_published(method):
    for model in models(method):
        assert osp.isfile(osp.join(ROOT, model['Config']))
        assert osp.basename(model['Config']) == f'{model["Name"]}.py'
        assert 'Weights' not in model
        for result in model['Results']:
            assert all(metric.endswith('(published)') for metric in result['Metrics'])


@pytest.mark.parametrize('method', METHODS)
def test_the_numbers_are_those_of_table_1(method, paper):
    with open(osp.join(paper, 'table1.csv')) as file:
        rows = [row for row in csv.DictReader(file) if row['method'].lower() == method]
    names = [f'{method}_{PAIRS[row["pair"]]}_4xb4-80k_{DATA[row["dataset"]]}' for row in rows]
    expected = {name: (float(row['miou']), float(row['macc'])) for name, row in zip(names, rows)}
    found = {
        model['Name']: tuple(model['Results'][0]['Metrics'].values())
        for model in models(method)
        if 'upernet' not in model['Name']
    }
    assert found == expected and len(found) == 12


@pytest.mark.parametrize('method', METHODS)
def test_the_numbers_are_those_of_table_2(method, paper):
    with open(osp.join(paper, 'README.md')) as file:
        row = re.search(rf'^\| {method.upper()} \|(.*)\|$', file.read(), re.MULTILINE).group(1)
    expected = [float(value) for value in row.split('|')][-4:]
    found = [
        value
        for model in models(method)
        if 'upernet' in model['Name']
        for value in model['Results'][0]['Metrics'].values()
    ]
    assert found == expected
