"""Print what tuning.py chose: for each method, the setting with the highest sum of mIoU and trimap mIoU (3 px).

python experiments/camvid_stride4/choose.py [FOLDER]
"""

import json
import sys
from pathlib import Path

TUNED = ('kd', 'nfd', 'cwd', 'bpkd')


def score(run: dict) -> float:
    return run['metrics']['mIoU'] + run['metrics']['trimap/mIoU@3px']


def choose(folder: Path) -> dict:
    """For each method, the options of its best run. Options that all runs share are left out."""
    runs = [json.loads(path.read_text()) for path in sorted(folder.glob('*.json'))]
    common = next(run for run in runs if run['name'] == 'student')['overrides']
    chosen = {}
    for method in TUNED:
        best = max((run for run in runs if run['name'].startswith(f'{method}_')), key=score)
        chosen[method] = {key: value for key, value in best['overrides'].items() if key not in common}
    return chosen


if __name__ == '__main__':
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / 'tuning'
    print('_tuned =', json.dumps(choose(folder), indent=4))
