"""Print the search of learning_rate.py and search.py, as far as it has come, as Markdown tables.

python experiments/readings/table.py
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tables import COLUMNS, print_heading

ROWS = {
    'student': 'student alone',
    'kd': 'KD',
    'nfd': 'NFD',
    'cwd': 'CWD',
    'kd_cwd': 'KD on all cells + CWD',
    'random_cwd': 'KD on random cells + CWD',
    'edge': 'BPKD, edge mean, no pre-mask',
    'suppress': 'BPKD, edge mean, pre-mask suppresses',
    'paper': "BPKD, the paper's words",
}
RATE = 'optim_wrapper.optimizer.lr'
METRICS = {**COLUMNS, 'aAcc': 'pixel accuracy'}


def row_of(run: dict) -> str:
    return max((name for name in ROWS if f'{run["name"]}_'.startswith(f'{name}_')), key=len)


if __name__ == '__main__':
    runs = [json.loads(path.read_text()) for path in (Path(__file__).parent / 'search').glob('*.json')]
    print_heading('The search so far')
    print('| | setting | learning rate | ' + ' | '.join(METRICS.values()) + ' |')
    print('|---|---|---:|' + '---:|' * len(METRICS))
    for run in sorted(runs, key=lambda run: ([*ROWS].index(row_of(run)), -run['metrics']['mIoU'])):
        setting = run['name'].removeprefix(row_of(run)).strip('_')
        cells = [f'{run["metrics"][key]:.2f}' for key in METRICS]
        print(f'| {ROWS[row_of(run)]} | `{setting}` | {run["overrides"][RATE]} | ' + ' | '.join(cells) + ' |')
