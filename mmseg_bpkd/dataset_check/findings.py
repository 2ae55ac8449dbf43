"""Problems, one sentence each."""

import os.path as osp
from dataclasses import dataclass
from typing import List, Sequence


@dataclass
class Finding:
    """A problem: `text` says what was found, what was expected, where, and what to do.

    Args:
        severity: 'error' or 'warning'.
        splits: the parts of the data that have it.
    """

    severity: str
    splits: List[str]
    text: str

    def __str__(self) -> str:
        return f'{self.severity}: {", ".join(self.splits)}: {self.text}'


class Findings(List[Finding]):
    """What was found so far. The same sentence about another split is not said twice."""

    def error(self, split: str, text: str) -> None:
        self._add('error', split, text)

    def warning(self, split: str, text: str) -> None:
        self._add('warning', split, text)

    def of(self, severity: str) -> List[Finding]:
        return [finding for finding in self if finding.severity == severity]

    def _add(self, severity: str, split: str, text: str) -> None:
        for finding in self.of(severity):
            if finding.text == text:
                finding.splits.append(split)
                return
        self.append(Finding(severity, [split], text))


def examples(things: Sequence, shown: int = 3) -> str:
    """'a, b, c and 4 more'."""
    more = f' and {len(things) - shown} more' if len(things) > shown else ''
    return ', '.join(map(str, things[:shown])) + more


def names(paths: Sequence[str], folder: str) -> str:
    """The first few files, as they are called within `folder`."""
    return examples([osp.relpath(path, folder) for path in paths])


def number(count: int, thing: str) -> str:
    """'1 image', '3 images'."""
    return f'{count} {thing}{"" if count == 1 else "s"}'


def values_text(values: Sequence[int]) -> str:
    """'3, 19 to 33' for sorted whole numbers."""
    runs: List[List[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ', '.join(f'{run[0]}' if len(run) == 1 else f'{run[0]} to {run[-1]}' for run in runs)
