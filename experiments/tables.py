"""Prints results of `tools/test.py --out` as a Markdown table."""

import json
from collections.abc import Callable, Container, Iterable
from pathlib import Path
from statistics import mean

METHODS = {
    'kd': 'KD',
    'fitnet': 'FitNet',
    'at': 'AT',
    'local_affinity': 'local affinity',
    'skds': 'SKDS',
    'ifvd': 'IFVD',
    'cwd': 'CWD',
    'cwd_features': 'CWD, features',
    'cirkd': 'CIRKD',
    'apd': 'APD',
    'dist': 'DIST',
    'mgd': 'MGD',
    'afdcd': 'Af-DCD',
    'lskd': 'LSKD',
    'nfd': 'NFD',
    'aicsd': 'AICSD',
    'kt_channel': 'KT, channel loss',
    'wavelet': 'wavelet (FreeKD)',
    'bpkd': 'BPKD',
}
TITLES = {**METHODS, 'student': 'student alone', 'student_same_time': 'student alone, same time'}
COLUMNS = {'mIoU': 'mIoU', 'trimap/mIoU@3px': 'trimap mIoU (3 px)', 'boundary/mIoU@0.005diag': 'boundary IoU (0.5 %)'}


def print_heading(title: str) -> None:
    """Prints the heading of a section. `docs/generate.py` puts the sections into the pages."""
    print(f'\n## {title}\n')


def print_rows(header: list[str], names: Iterable[str], cells: Callable[[str], list[str]]) -> None:
    """Prints a table with a row for each name, which gets its title and its cells."""
    print('| | ' + ' | '.join(header) + ' |')
    print('|---|' + '---:|' * len(header))
    for name in names:
        print(f'| {TITLES.get(name, name)} | ' + ' | '.join(cells(name)) + ' |')


def cell(values: list) -> str:
    each = f' ({", ".join(f"{value:.2f}" for value in values)})' if len(values) > 1 else ''
    return f'{mean(values):.2f}{each}'


def print_table(
    results: Path,
    rows: dict[str, str],
    seeds: Container[str] | None = None,
    header: bool = True,
    columns: dict[str, str] = COLUMNS,
) -> None:
    """Prints a row for each method with results: number of seeds, then mean and every seed of each metric.

    Args:
        results: folder with the files METHOD-SEED.json, or METHOD.json.
        rows: {method: title}.
        seeds: those to use; default: all.
        header: whether to begin with the header.
        columns: {metric: title}.
    """
    if header:
        print('| | seeds | ' + ' | '.join(columns.values()) + ' |')
        print('|---|' + '---:|' * (1 + len(columns)))
    for name, title in rows.items():
        files = sorted(path for path in results.glob('*.json') if path.stem.rsplit('-', 1)[0] == name)
        files = [path for path in files if seeds is None or path.stem.rsplit('-', 1)[1] in seeds]
        if files:
            metrics = [json.loads(file.read_text())['metrics'] for file in files]
            cells = [cell([m[key] for m in metrics]) for key in columns]
            print(f'| {title} | {len(files)} | ' + ' | '.join(cells) + ' |')
