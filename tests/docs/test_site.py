"""The check of the documentation site finds broken links and pages that no link reaches."""

import runpy

import pytest
from conftest import ROOT

SITE = {
    'index.html': '<a href="guide/a.html#start">a</a> <a href="https://example.org/x.html">x</a> <img src="b%20c.png">',
    'guide/a.html': '<h1 id="start">A</h1> <a href="../index.html">up</a> <a href="#start">top</a>',
    'b c.png': '',
}


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        ({}, []),
        (
            {'guide/a.html': '<h1 id="begin">A</h1>'},
            ['index.html links to guide/a.html#start, which has no such anchor'],
        ),
        ({'b c.png': None}, ['index.html links to b%20c.png, which does not exist']),
        ({'guide/other.html': '<a href="a.html">a</a>'}, ['no link leads to guide/other.html']),
    ],
)
def test_problems_of_a_site(tmp_path, changes, expected):
    for name, content in {**SITE, **changes}.items():
        if content is not None:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(content)
    assert list(runpy.run_path(f'{ROOT}/docs/check_site.py')['problems'](tmp_path)) == expected
