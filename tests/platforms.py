"""Print the table of docs/platforms.md, or record a test run for it.

python tests/platforms.py                    print the table
python tests/platforms.py SESSION JUNIT_XML  record the run of a nox session in docs/platforms.json, and renew the table
                                             of the page; exit code 1 if a test failed
"""

import datetime
import json
import platform
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from xml.etree import ElementTree

RESULTS = Path(__file__).parents[1] / 'docs/platforms.json'
PAGE = RESULTS.with_suffix('.md')
TABLE = re.compile('(?<=<!-- table -->\n)(.*?)(?=\n<!-- end -->)', re.DOTALL)
PACKAGES = ('torch', 'mmengine', 'mmcv', 'mmsegmentation', 'numpy')
COLUMNS = ('session', 'python', *PACKAGES, 'passed', 'failed', 'skipped', 'date')


def record(session: str, report: Path, results: Path = RESULTS) -> dict:
    """Adds the run to the results, or replaces the earlier one of the session, and returns it."""
    runs = read(results)
    runs[session] = dict(
        python=platform.python_version(),
        **{package: installed(package) for package in PACKAGES},
        **counts(report),
        date=datetime.date.today().isoformat(),
    )
    lines = ',\n'.join(f'{json.dumps(name)}: {json.dumps(runs[name])}' for name in sorted(runs))
    results.write_text(f'{{\n{lines}\n}}\n', encoding='utf-8')
    return runs[session]


def read(results: Path = RESULTS) -> dict:
    return json.loads(results.read_text(encoding='utf-8'))


def installed(package: str) -> str:
    """Returns the version of a package, after the name of the distribution if that is another one."""
    for distribution in (package, f'onedl-{package}', f'{package}-lite'):
        try:
            found = version(distribution)
        except PackageNotFoundError:
            continue
        return found if distribution == package else f'{distribution} {found}'
    raise PackageNotFoundError(package)


def counts(report: Path) -> dict:
    """Counts the tests of a JUnit file of pytest. An error, as in a fixture, counts as a failure."""
    suites = ElementTree.parse(report).getroot().findall('testsuite')
    total, failures, errors, skipped = (
        sum(int(suite.get(key)) for suite in suites) for key in ('tests', 'failures', 'errors', 'skipped')
    )
    return dict(passed=total - failures - errors - skipped, failed=failures + errors, skipped=skipped)


def renew_table(page: Path = PAGE, results: Path = RESULTS) -> None:
    """Puts the table of the results into the page."""
    text = page.read_text(encoding='utf-8')
    page.write_text(TABLE.sub(lambda match: '\n'.join(lines(results)), text), encoding='utf-8')


def lines(results: Path = RESULTS) -> Iterator[str]:
    """Yields the lines of the table."""
    runs = read(results)
    if not runs:
        yield 'Not run yet.'
        return
    yield f'| {" | ".join(COLUMNS)} |'
    yield f'|{"---|" * len(COLUMNS)}'
    for session, run in sorted(runs.items()):
        yield f'| {" | ".join(str(dict(session=f"`{session}`", **run)[column]) for column in COLUMNS)} |'


if __name__ == '__main__':
    if len(sys.argv) == 3:
        run = record(sys.argv[1], Path(sys.argv[2]))
        print(run)
        renew_table()
        sys.exit(run['failed'] > 0)
    print('\n'.join(lines()))
