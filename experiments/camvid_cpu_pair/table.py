"""Print the results of run.sh as a Markdown table: one row per run, mean and every seed.

python experiments/camvid_cpu_pair/table.py
"""

import json
from pathlib import Path
from statistics import mean

RESULTS = Path(__file__).parent / 'results'
ROWS = {
    'teacher': 'teacher (R18, width 32)',
    'student': 'student alone (width 16)',
    'kd': 'KD',
    'cwd': 'CWD',
    'bpkd': 'BPKD',
}
COLUMNS = {'mIoU': 'mIoU', 'trimap/mIoU@3px': 'trimap mIoU (3 px)', 'boundary/mIoU@0.005diag': 'boundary IoU (0.5 %)'}


def cell(values: list) -> str:
    each = f' ({", ".join(f"{value:.2f}" for value in values)})' if len(values) > 1 else ''
    return f'{mean(values):.2f}{each}'


def print_table(results: Path, rows: dict) -> None:
    print('| | seeds | ' + ' | '.join(COLUMNS.values()) + ' |')
    print('|---|' + '---:|' * (1 + len(COLUMNS)))
    for name, title in rows.items():
        files = sorted(path for path in results.glob('*.json') if path.stem.split('-')[0] == name)
        if files:
            metrics = [json.loads(file.read_text())['metrics'] for file in files]
            cells = [cell([m[key] for m in metrics]) for key in COLUMNS]
            print(f'| {title} | {len(files)} | ' + ' | '.join(cells) + ' |')


if __name__ == '__main__':
    print_table(RESULTS, ROWS)
