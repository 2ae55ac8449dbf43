"""The problems that were found, one sentence each, and the words that these sentences share."""

import os.path as osp
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass
class Finding:
    """One problem, an 'error' or a 'warning', and the splits or checks that it concerns."""

    severity: str
    splits: list[str]
    text: str

    def __str__(self) -> str:
        return f'{self.severity}: {self.place}: {self.text}'

    @property
    def place(self) -> str:
        return ', '.join(self.splits)


class Findings(list[Finding]):
    """All problems so far. If two splits have the same problem, it is stored once with both splits."""

    def add(self, severity: str, split: str, text: str) -> None:
        for finding in self.of(severity):
            if finding.text == text:
                finding.splits.append(split)
                return
        self.append(Finding(severity, [split], text))

    def error(self, split: str, text: str) -> None:
        self.add('error', split, text)

    def warning(self, split: str, text: str) -> None:
        self.add('warning', split, text)

    def of(self, severity: str) -> list[Finding]:
        return [finding for finding in self if finding.severity == severity]


def examples(items: Sequence[str], folder: str | None = None) -> str:
    """The first items, and how many more there are: 'a, b, c and 4 more'. Paths are shown relative to `folder`."""
    shown = [osp.relpath(item, folder) if folder else item for item in items[:3]]
    return ', '.join(shown) + (f' and {len(items) - 3} more' if len(items) > 3 else '')


def counted(count: int, noun: str) -> str:
    """A number with its noun: '1 image', '3 images'."""
    return f'{count} {noun}{"" if count == 1 else "s"}'
