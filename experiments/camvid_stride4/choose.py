"""Print the search of tuning.py, the other readings of reading.py, and what was chosen.

    python experiments/camvid_stride4/choose.py
    python experiments/camvid_stride4/choose.py FOLDER    # chooses from other results of tuning.py

For each method, the setting with the highest sum of mIoU and trimap mIoU (3 px) is chosen. Where others are within
0.1 of it, the sum on the drawn scenes of experiments/demo/settings.py decides. tuned.py repeats the choice. The last
column is the norm of the gradient of the losses, relative to that of the task, from gradients.json.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).parents[1]))

from tables import COLUMNS, METHODS, print_heading

HERE = Path(__file__).parent
DRAWN = HERE.parent / 'demo/settings'
TIE = 0.1
TUNED = ('kd', 'nfd', 'cwd', 'bpkd')


def read_settings(folder: Path) -> list[dict]:
    """The settings in a folder of results, with the means over their seeds."""
    runs: dict[str, list[dict]] = {}
    for path in sorted(folder.glob('*.json')):
        run = json.loads(path.read_text())
        runs.setdefault(run['name'], []).append(run)
    return [
        dict(
            name=name,
            overrides=of_name[0]['overrides'],
            seeds=len(of_name),
            metrics={key: mean(run['metrics'][key] for run in of_name) for key in COLUMNS},
        )
        for name, of_name in runs.items()
    ]


def changes(setting: dict, common: Iterable[str]) -> dict:
    """The options that this setting has and the others have not."""
    return {key: value for key, value in setting['overrides'].items() if key not in common}


def score(setting: dict) -> float:
    return setting['metrics']['mIoU'] + setting['metrics']['trimap/mIoU@3px']


def method_of(setting: dict) -> str:
    return setting['name'].split('_')[0]


def choose(settings: list[dict]) -> dict[str, dict]:
    """For each method, the options of its best setting."""
    common = next(setting for setting in settings if setting['name'] == 'student')['overrides']
    return {method: changes(best([s for s in settings if method_of(s) == method]), common) for method in TUNED}


def best(settings: list[dict]) -> dict:
    highest = max(map(score, settings))
    tied = [setting for setting in settings if score(setting) > highest - TIE]
    if len(tied) == 1:
        return tied[0]
    drawn = {setting['name']: score(setting) for setting in read_settings(DRAWN)}
    missing = [setting['name'] for setting in tied if setting['name'] not in drawn]
    if missing:
        raise SystemExit(f'{", ".join(missing)}: tied with another setting, but has no results in {DRAWN}. Add them')
    return max(tied, key=lambda setting: drawn[setting['name']])


def print_search(settings: list[dict], common: Iterable[str], gradients: dict) -> None:
    """Prints a row for each setting, the best of a method first."""
    print('| | setting | seeds | ' + ' | '.join(COLUMNS.values()) + ' | gradient |')
    print('|---|---|---:|' + '---:|' * len(COLUMNS) + '---|')
    order = ('student', *TUNED)
    for setting in sorted(
        settings, key=lambda setting: (-order.index(method_of(setting)), score(setting)), reverse=True
    ):
        options = ', '.join(f'{key.split(".")[-1]} {value}' for key, value in changes(setting, common).items())
        cells = [f'{setting["metrics"][key]:.2f}' for key in COLUMNS]
        losses = gradients.get(setting['name'], {})
        parts = {
            name.split('_')[-1]: f'{row["norm"] / losses["task"]["norm"]:.2g}'
            for name, row in losses.items()
            if name.startswith('distill')
        }
        relative = ', '.join(f'{name} {value}' if len(parts) > 1 else value for name, value in parts.items())
        row = [METHODS.get(method_of(setting), 'student alone'), options or 'default', str(setting['seeds']), *cells]
        print(f'| {" | ".join(row)} | {relative} |')


if __name__ == '__main__':
    if len(sys.argv) > 1:
        print('_tuned =', json.dumps(choose(read_settings(Path(sys.argv[1]))), indent=4))
        sys.exit()
    searched = read_settings(HERE / 'tuning')
    common = next(setting for setting in searched if setting['name'] == 'student')['overrides']
    gradients = json.loads((HERE / 'gradients.json').read_text())
    print_heading('The search')
    print_search(searched, common, gradients['tuning'])
    print_heading('Other readings of the loss')
    print_search(read_settings(HERE / 'reading'), common, gradients['reading'])
    print_heading('Chosen')
    print('_tuned =', json.dumps(choose(searched), indent=4))
