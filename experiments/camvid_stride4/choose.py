"""Print the search of tuning.py, the other readings of reading.py, and what was chosen.

    python experiments/camvid_stride4/choose.py
    python experiments/camvid_stride4/choose.py FOLDER    # chooses from other results of tuning.py

For each method, the setting with the highest sum of mIoU and trimap mIoU (3 px) is chosen. tuned.py repeats the choice.
The last column is the gradient of the losses relative to that of the task, from gradients.json.
"""

import json
import sys
from pathlib import Path
from typing import Dict, Iterable, List

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from tables import COLUMNS, METHODS

TUNED = ('kd', 'nfd', 'cwd', 'bpkd')


def read_runs(folder: Path) -> List[dict]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob('*.json'))]


def changes(run: dict, common: Iterable[str]) -> dict:
    """The options that this setting has and the others have not."""
    return {key: value for key, value in run['overrides'].items() if key not in common}


def score(run: dict) -> float:
    return run['metrics']['mIoU'] + run['metrics']['trimap/mIoU@3px']


def choose(runs: List[dict]) -> Dict[str, dict]:
    """For each method, the options of its best run."""
    common = next(run for run in runs if run['name'] == 'student')['overrides']
    best = {method: max((run for run in runs if run['name'].startswith(f'{method}_')), key=score) for method in TUNED}
    return {method: changes(run, common) for method, run in best.items()}


def print_search(runs: List[dict], common: Iterable[str], gradients: dict) -> None:
    """Prints a row for each setting, the best of a method first."""
    print('| | setting | ' + ' | '.join(COLUMNS.values()) + ' | gradient |')
    print('|---|---|' + '---:|' * len(COLUMNS) + '---|')
    order = ('student', *TUNED)
    for run in sorted(runs, key=lambda run: (order.index(run['name'].split('_')[0]), -score(run))):
        method = run['name'].split('_')[0]
        setting = ', '.join(f'{key.split(".")[-1]} {value}' for key, value in changes(run, common).items())
        cells = [f'{run["metrics"][key]:.2f}' for key in COLUMNS]
        losses = gradients.get(run['name'], {})
        parts = [
            f'{name.split("_")[-1]} {row["norm"] / losses["task"]["norm"]:.2g}'
            for name, row in losses.items()
            if name.startswith('distill')
        ]
        parts = [part.split()[-1] for part in parts] if len(parts) == 1 else parts
        title = METHODS.get(method, 'student alone')
        print(f'| {title} | {setting or "default"} | {" | ".join(cells)} | {", ".join(parts)} |')


if __name__ == '__main__':
    if len(sys.argv) > 1:
        print('_tuned =', json.dumps(choose(read_runs(Path(sys.argv[1]))), indent=4))
        sys.exit()
    searched = read_runs(HERE / 'tuning')
    common = next(run for run in searched if run['name'] == 'student')['overrides']
    gradients = json.loads((HERE / 'gradients.json').read_text())
    print_search(searched, common, gradients['tuning'])
    print('\nOther readings of the loss\n')
    print_search(read_runs(HERE / 'reading'), common, gradients['reading'])
    print('\n_tuned =', json.dumps(choose(searched), indent=4))
