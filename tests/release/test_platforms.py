"""Runs of nox sessions are recorded, and docs/platforms.md and docs/mmrazor.md are up to date."""

import ast
import json
import re
import sys
from pathlib import Path

import platforms
from conftest import ROOT

ROOT = Path(ROOT)
JUNIT = """<?xml version="1.0"?>
<testsuites>
  <testsuite name="pytest" errors="1" failures="1" skipped="1" tests="5">
    <testcase name="a"/>
    <testcase name="b"/>
    <testcase name="c"><failure/></testcase>
    <testcase name="d"><error/></testcase>
    <testcase name="e"><skipped/></testcase>
  </testsuite>
</testsuites>"""


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding='utf-8')


def test_the_page_shows_the_recorded_runs():
    assert platforms.TABLE.findall(read('docs/platforms.md')) == ['\n'.join(platforms.lines())]


def test_a_run_is_recorded_with_its_versions_and_replaces_the_last_one(tmp_path):
    report, results = tmp_path / 'junit.xml', tmp_path / 'platforms.json'
    report.write_text(JUNIT)
    results.write_text('{}')
    assert list(platforms.lines(results)) == ['Not run yet.']
    for session in ('second', 'first', 'second'):
        platforms.record(session, report, results)
    recorded = json.loads(results.read_text())
    assert list(recorded) == ['first', 'second']
    run = recorded['first']
    assert (run['passed'], run['failed'], run['skipped']) == (2, 2, 1)
    assert run['python'] == '.'.join(map(str, sys.version_info[:3]))
    assert re.fullmatch(r'(onedl-mmengine )?[\d.]+', run['mmengine'])
    assert len(results.read_text().splitlines()) == 4  # a line for each session

    header, rule, *rows = platforms.lines(results)
    assert [row.split('|')[1].strip() for row in rows] == ['`first`', '`second`']
    assert {line.count('|') for line in (header, rule, *rows)} == {12}

    page = tmp_path / 'platforms.md'
    page.write_text('above\n<!-- table -->\nNot run yet.\n<!-- end -->\nbelow\n')
    platforms.renew_table(page, results)
    lines = page.read_text().splitlines()
    assert lines == ['above', '<!-- table -->', header, rule, *rows, '<!-- end -->', 'below']


def test_the_page_on_mmrazor_lists_what_is_imported_and_where():
    used = {}
    for path in (ROOT / 'mmseg_bpkd').rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('mmrazor.'):
                for alias in node.names:
                    used.setdefault(alias.name, set()).add(path.relative_to(ROOT / 'mmseg_bpkd').as_posix())
            if isinstance(node, ast.Import):
                assert not [alias.name for alias in node.names if alias.name.startswith('mmrazor')]
    listed = {}
    for row in re.findall(r'^\| `.*', read('docs/mmrazor.md'), re.MULTILINE):
        names, files = (re.findall(r'`([^`]+)`', cell) for cell in row.split('|')[1:3])
        for name in names:
            listed[name.rpartition('.')[2]] = set(files)
    # A row may name several imports: each of its files uses one of them.
    assert listed.keys() == used.keys()
    assert all(used[name] <= listed[name] for name in used)
    assert set().union(*listed.values()) == set().union(*used.values())
