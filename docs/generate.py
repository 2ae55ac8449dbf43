"""Renew what README.md and docs/*.md show of the committed results, and check what they conclude from them.

    python docs/generate.py

* `<!-- begin generated: SCRIPT: SECTION -->` ... `<!-- end generated -->` encloses what SCRIPT prints under the heading
  `## SECTION`. Every table that one of these scripts prints must be on a page.
* `<!-- claim: NAME -->` stands behind a conclusion. The function NAME of experiments/claims.py checks it. It may not
  begin a line: Markdown would show the rest of the line as HTML.
"""

import io
import re
import runpy
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from types import FunctionType
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
BLOCK = re.compile(r'(<!-- begin generated: (\S+): (.+?) -->(\n?)).*?(<!-- end generated -->)', re.DOTALL)
CLAIM = re.compile(r'<!-- claim: (\w+) -->')


def read_pages() -> dict[str, str]:
    paths = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding='utf-8') for path in paths}


@cache
def sections(script: str) -> dict[str, str]:
    """Runs a script and returns what it prints: {heading: text}."""
    with redirect_stdout(io.StringIO()) as printed, mock.patch('sys.argv', [script]):
        runpy.run_path(str(ROOT / script), run_name='__main__')
    parts = re.split(r'^## (.+)$', printed.getvalue(), flags=re.MULTILINE)
    return {heading: text.strip('\n') for heading, text in zip(parts[1::2], parts[2::2])}


def renew(pages: dict[str, str]) -> dict[str, str]:
    """Returns the pages with the generated parts renewed.

    Raises:
        ValueError: if a script has no such section.
    """

    def renewed(match: re.Match) -> str:
        begin, script, section, newline, end = match.groups()
        if section not in sections(script):
            raise ValueError(f'{script} prints no section {section}, only {", ".join(sections(script))}')
        return begin + sections(script)[section] + newline + end

    return {page: BLOCK.sub(renewed, text) for page, text in pages.items()}


def problems(pages: dict[str, str], claims: dict[str, FunctionType]) -> Iterator[str]:
    """Yields the conclusions that the results do not support, and the tables and claims that no page uses."""
    text = '\n'.join(pages.values())
    shown = {(script, section) for _, script, section, *_ in BLOCK.findall(text)}
    for script in sorted({script for script, _ in shown}):
        for section, printed in sections(script).items():
            if (script, section) not in shown and '|---' in printed:
                yield f'{script} prints the table {section}, which no page shows'
    if re.search(r'^ *<!-- claim', text, re.MULTILINE):
        yield 'a claim begins a line, so that Markdown shows the rest of the line as HTML'
    claimed = set(CLAIM.findall(text))
    for name in sorted(claimed | claims.keys()):
        if name not in claims:
            yield f'experiments/claims.py does not have the claim {name}'
        elif name not in claimed:
            yield f'no page makes the claim {name}'
        elif not claims[name]():
            yield f'the results do not support the claim {name}: {claims[name].__doc__}'


def load_claims() -> dict[str, FunctionType]:
    found = runpy.run_path(str(ROOT / 'experiments/claims.py'), run_name='claims')
    functions = {name: value for name, value in found.items() if isinstance(value, FunctionType)}
    return {name: value for name, value in functions.items() if value.__module__ == 'claims' and name[0] != '_'}


if __name__ == '__main__':
    before = read_pages()
    for page, text in renew(before).items():
        if text != before[page]:
            (ROOT / page).write_text(text, encoding='utf-8')
            print('renewed', page)
    sys.exit('\n'.join(problems(before, load_claims())) or 0)
