"""Print the tables of the methods of docs/archive.md.

python experiments/archive/methods/table.py
"""

import json
import sys
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).parents[2]))

from tables import COLUMNS, METHODS, print_heading

HERE = Path(__file__).parent
ROWS = {'student': 'student alone', **METHODS}


def read(name: str) -> dict:
    file = HERE / name
    return json.loads(file.read_text()) if file.is_file() else {}


def scores(name: str) -> list:
    """Of a method or a variant of one, every seed's: {metric: value}."""
    return [json.loads(file.read_text())['metrics'] for file in sorted(HERE.glob(f'results/{name}.json'))]


def row(*cells) -> str:
    return '| ' + ' | '.join(cells) + ' |'


def accuracy_cells(runs: list) -> list:
    each = ', '.join(f'{run["mIoU"]:.2f}' for run in runs) if len(runs) > 1 else ''
    return [
        f'{mean(run[key] for run in runs):.2f}' + (f' ({each})' if key == 'mIoU' and each else '') for key in COLUMNS
    ]


def methods_table() -> None:
    steps = {result['config'].split('_pspnet')[0]: result for result in read('step.json').get('step', [])}
    steps['student'] = steps.pop('pspnet_r18w16_1xb8-2k_camvid-192x192', None)
    print(row('', *COLUMNS.values(), 'ms per step', 'peak memory'))
    print('|---|' + '---:|' * (len(COLUMNS) + 2))
    for name, title in ROWS.items():
        runs, step = scores(f'{name}-[0-9]'), steps.get(name)
        cost = [f'{step["ms"]:.0f} ({step["ratio"]:.2f}x)', f'{step["megabytes"]:.0f} MiB'] if step else ['', '']
        if runs:
            print(row(title, *accuracy_cells(runs), *cost))


def variants_table() -> None:
    files = sorted(HERE.glob('results/*-[0-9]_*.json'))
    if files:
        print(row('variant', *COLUMNS.values()))
        print('|---|' + '---:|' * len(COLUMNS))
    for file in files:
        method, _, settings = file.stem.rpartition('-')
        print(row(f'{ROWS[method]}, {settings[2:].replace("_", " ")}', *accuracy_cells(scores(file.stem))))


if __name__ == '__main__':
    print_heading('Methods')
    methods_table()
    print_heading('Variants')
    variants_table()
