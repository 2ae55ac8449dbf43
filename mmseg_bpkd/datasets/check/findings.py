"""The problems that were found, one sentence each, and helpers for the wording."""

import os.path as osp
from dataclasses import dataclass
from typing import List, Sequence


@dataclass
class Finding:
    """One problem.

    Args:
        severity: 'error' or 'warning'.
        splits: the splits or checks that it concerns.
        text: what was found, what was expected, where, and what to do.
    """

    severity: str
    splits: List[str]
    text: str

    def __str__(self) -> str:
        return f'{self.severity}: {", ".join(self.splits)}: {self.text}'


class Findings(List[Finding]):
    """All problems so far. If two splits have the same problem, it is stored once with both splits."""

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


def examples(items: Sequence, shown: int = 3) -> str:
    """The first items, and how many more there are: 'a, b, c and 4 more'."""
    more = f' and {len(items) - shown} more' if len(items) > shown else ''
    return ', '.join(map(str, items[:shown])) + more


def relative_names(paths: Sequence[str], folder: str) -> str:
    """The first paths, relative to `folder`, and how many more there are."""
    return examples([osp.relpath(path, folder) for path in paths])


def counted(count: int, noun: str) -> str:
    """A number with its noun: '1 image', '3 images'."""
    return f'{count} {noun}{"" if count == 1 else "s"}'


def format_ranges(values: Sequence[int]) -> str:
    """Sorted integers as ranges: '3, 19 to 33'."""
    runs: List[List[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ', '.join(f'{run[0]}' if len(run) == 1 else f'{run[0]} to {run[-1]}' for run in runs)
