"""Formats the results as text and as JSON, and writes them."""

import os
import os.path as osp
from dataclasses import asdict
from math import prod

from prettytable import PrettyTable

from mmseg_bpkd.fileio.writing import write_json

from .all_checks import Result
from .findings import counted
from .picture import draw_samples
from .splits import Split

VOID = '(void)'  # its row in the table


def write_report(result: Result, config: str, folder: str, samples: int) -> str:
    """Writes report.json and, if there is a sample to draw, samples.png into an existing folder.

    Returns:
        The results as text, with a last line that names the files.
    """
    picture = osp.join(folder, 'samples.png')
    if osp.isfile(picture):
        os.remove(picture)
    with result.attempt('samples.png'):
        draw_samples(result, samples, picture)
    write_json(osp.join(folder, 'report.json'), dict(config=config, **as_json(result)))
    written = ', samples.png' if osp.isfile(picture) else ''
    return f'{as_text(result)}\nwritten to {folder}: report.json{written}'


def as_text(result: Result) -> str:
    """One line per split, a table with the share of each class, and one line per problem, errors first."""
    parts = [_split_line(result, split) for split in result.splits]
    shares = _share_table(result)
    if shares:
        parts += ['', shares]
    findings = result.findings.of('error') + result.findings.of('warning')
    errors, warnings = (len(result.findings.of(severity)) for severity in ('error', 'warning'))
    parts += ['', *map(str, findings)]
    parts.append(f'{counted(errors, "error")}, {counted(warnings, "warning")}' if findings else 'no problems found')
    return '\n'.join(parts)


def as_json(result: Result) -> dict:
    """The findings, and for each split its folders, image sizes and pixels per class, for `json.dump`."""
    splits = {}
    for split in result.splits:
        summary = result.summaries.get(split.name)
        splits[split.name] = dict(type=split.type, note=split.note, listed=split.listed or 0)
        if split.places.images:
            splits[split.name].update(images=split.places.images, labels=split.places.labels or None)
        if summary:
            splits[split.name].update(
                read=summary.read,
                sizes={f'{w}x{h}': count for (w, h), count in sorted(summary.sizes.items())},
                pixels=dict(zip(split.classes, summary.pixels)),
                void=summary.void,
                outside={str(value): count for value, count in summary.outside.items()},
            )
    return dict(findings=[asdict(finding) for finding in result.findings], splits=splits)


def _split_line(result: Result, split: Split) -> str:
    summary = result.summaries.get(split.name)
    text = split.note or 'not checked, see below'
    if split.listed is not None:
        text = f'{counted(split.listed, "image")} in {split.places.images}, '
        text += f'{summary.read} read: {_size_range(summary.sizes)}' if summary else 'none read'
    if summary:
        text += f', {100 * summary.share(summary.void):.1f} % void'
    return f'{split.name:5} {split.type}: {text}'


def _size_range(sizes: dict) -> str:
    if not sizes:
        return 'no size'
    smallest, largest = (f'{width}x{height}' for width, height in (min(sizes, key=prod), max(sizes, key=prod)))
    return smallest if smallest == largest else f'{smallest} to {largest}'


def _share_table(result: Result) -> str | None:
    splits = [split for split in result.splits if split.name in result.summaries]
    if not splits:
        return None
    table = PrettyTable(['% of pixels read', *(split.name for split in splits)], align='r')
    table.align['% of pixels read'] = 'l'
    names: list[str] = list(dict.fromkeys(name for split in splits for name in split.classes))
    columns = []
    for split in splits:
        summary = result.summaries[split.name]
        pixels = dict(zip(split.classes, summary.pixels), **{VOID: summary.void})
        columns.append({name: f'{100 * summary.share(count):.2f}' for name, count in pixels.items()})
    for name in [*names, VOID]:
        table.add_row([name, *(column.get(name, '') for column in columns)])
    return table.get_string()
