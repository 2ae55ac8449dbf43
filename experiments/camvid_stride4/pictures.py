"""Draw the pictures of docs/results.md from the results of the main comparison.

Each file carries a digest of the results that it was drawn from, so that a test finds a picture that is older.

python experiments/camvid_stride4/pictures.py
"""

import hashlib
import json
from pathlib import Path

from matplotlib.figure import Figure

from mmseg_bpkd.analysis import figures
from mmseg_bpkd.grids.plots import curves_plot
from mmseg_bpkd.grids.run_results import Results

MAIN = str(Path(__file__).parent / 'main')
DOCS = Path(__file__).parents[2] / 'docs'
NAMES = ['student', 'kd', 'nfd', 'cwd', 'bpkd']


def pictures() -> dict[str, Figure]:
    return {
        'camvid_steps': curves_plot(Results(MAIN, NAMES), 'step'),
        'camvid_trimap': figures.curves_figure([MAIN], NAMES)[0],
        'camvid_classes': figures.classes_figure([MAIN], NAMES)[0],
    }


def scores() -> str:
    """A digest of the numbers that the pictures show."""
    shown = ('name', 'seed', 'metrics', 'per_class', 'curve')
    runs = [[run[key] for key in shown] for run in Results(MAIN, NAMES).all_runs()]
    return hashlib.sha256(json.dumps(runs).encode()).hexdigest()


if __name__ == '__main__':
    description = scores()
    for name, figure in pictures().items():
        figure.savefig(DOCS / f'{name}.png', metadata={'Description': description})
        print(f'written: docs/{name}.png')
