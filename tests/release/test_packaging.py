"""The files that describe the project agree with each other."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import mmseg_bpkd

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(ROOT)
VERSION = mmseg_bpkd.__version__
PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text(encoding='utf-8'))['project']


def test_a_build_reads_the_version_and_does_not_import_the_package(tmp_path):
    for name in ('pyproject.toml', 'setup.py', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / name, tmp_path)
    source = (ROOT / 'mmseg_bpkd/__init__.py').read_text(encoding='utf-8')
    (tmp_path / 'mmseg_bpkd').mkdir()
    (tmp_path / 'mmseg_bpkd/__init__.py').write_text(f'raise ImportError\n{source}', encoding='utf-8')
    command = [sys.executable, 'setup.py', '--version']
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == VERSION


def test_the_changelog_has_this_version_and_what_comes_next():
    text = (ROOT / 'CHANGELOG.md').read_text(encoding='utf-8')
    assert re.search(rf'^## \[{re.escape(VERSION)}\] - \d{{4}}-\d\d-\d\d$', text, re.MULTILINE)
    assert re.search(r'^## \[Unreleased\]$', text, re.MULTILINE)


def test_the_citation_has_this_version_and_its_date():
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text(encoding='utf-8'))
    assert citation['version'] == VERSION
    changelog = (ROOT / 'CHANGELOG.md').read_text(encoding='utf-8')
    assert f'## [{VERSION}] - {citation["date-released"]}' in changelog


def pins(file: str) -> dict:
    """Returns {package: version or None} of the lines that hold for this Python."""
    lines = (ROOT / file).read_text(encoding='utf-8').splitlines()
    requirements = [Requirement(line) for line in lines if not line.startswith(('#', '-'))]
    return {
        requirement.name: requirement.specifier
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate()
    }


PINS = pins('requirements.txt')


def allows(declared: Requirement, pinned: SpecifierSet) -> bool:
    (exact,) = pinned
    return exact.operator == '==' and declared.specifier.contains(exact.version)


@pytest.mark.parametrize(('file', 'extra'), [('requirements.txt', 'lite'), ('requirements-onedl.txt', 'onedl')])
def test_requirements_pin_every_dependency_to_a_version_that_pyproject_allows(file, extra):
    own, extras = pins(file), PROJECT['optional-dependencies']
    for declared in map(Requirement, [*PROJECT['dependencies'], *extras[extra], *extras['test'], *extras['onnx']]):
        assert declared.name in own, f'{file} does not name {declared.name}'
        pinned = own[declared.name] or PINS[declared.name]  # requirements.txt constrains requirements-onedl.txt
        assert allows(declared, pinned), f'{declared}, but {file}: {pinned}'


def test_both_upstreams_are_run_with_the_same_other_packages():
    openmmlab = {Requirement(declared).name for declared in PROJECT['optional-dependencies']['lite']}
    onedl = {Requirement(declared).name for declared in PROJECT['optional-dependencies']['onedl']}
    assert set(PINS) - openmmlab == set(pins('requirements-onedl.txt')) - onedl
    assert not openmmlab & onedl


def test_the_declared_pythons_are_those_that_nox_runs():
    declared = [c.split()[-1] for c in PROJECT['classifiers'] if re.fullmatch(r'.*:: 3\.\d+', c)]
    source = (ROOT / 'noxfile.py').read_text(encoding='utf-8')
    assert f'python={declared}' in source and PROJECT['requires-python'] == f'>={declared[0]}'


def links(page: str) -> list:
    targets = re.findall(r'\]\(([^)#\s]+)[^)]*\)', (ROOT / page).read_text(encoding='utf-8'))
    return [target for target in targets if '://' not in target]


@pytest.mark.parametrize('page', ['CONTRIBUTING.md', 'CHANGELOG.md'])
def test_links_lead_to_files(page):
    assert not [target for target in links(page) if not (ROOT / page).parent.joinpath(target).exists()]


def test_contributing_links_every_guide():
    guides = {f'docs/{path.name}' for path in (ROOT / 'docs').glob('adding_*.md')}
    assert 'docs/adding_a_method.md' in guides
    assert guides <= set(links('CONTRIBUTING.md'))
