"""Print the differences between runs that docs/results.md discusses, as Markdown tables.

python experiments/camvid_stride4/differences.py
"""

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from tables import COLUMNS, print_heading, print_rows

from mmseg_bpkd.grids.run_results import Results

HERE = Path(__file__).parent
FRAMES = 15  # as in table.py
SEEDS = range(5)


def scores(run: str) -> np.ndarray:
    """The metrics of COLUMNS of a run."""
    metrics = json.loads((HERE / f'{run}.json').read_text(encoding='utf-8'))['metrics']
    return np.array([metrics[key] for key in COLUMNS])


def print_summary() -> None:
    """Prints the lead of BPKD. It is bold where both 95 % intervals are on one side of 0."""
    results = Results(HERE / 'main')

    def cell(name: str, metric: str) -> str:
        lead = results.difference('bpkd', name, metric, FRAMES)
        ends = lead.over_seeds + lead.over_images
        return f'**{lead.mean:+.2f}**' if min(ends) > 0 or max(ends) < 0 else f'{lead.mean:+.2f}'

    names = ('student', 'kd', 'nfd', 'cwd', 'student_same_time')
    print_rows(list(COLUMNS.values()), names, lambda name: [cell(name, metric) for metric in COLUMNS])


def print_accuracy() -> None:
    results = Results(HERE / 'main')
    names = ('student', 'kd', 'nfd', 'cwd', 'bpkd')
    print_rows(['pixel accuracy'], names, lambda name: [f'{results.values(name, "aAcc").mean():.2f}'])


def print_parts() -> None:
    """Prints what the parts of the loss change, with the noise of one seed."""

    def ablation(name: str) -> np.ndarray:
        return scores(f'paper_tables/bpkd_{name}-0')

    student, cwd, whole = (scores(f'main/{name}-0') for name in ('student', 'cwd', 'bpkd'))
    body, edge = ablation('body-positions'), ablation('edge-classes')
    rows = {
        'body term alone, minus the student alone': body - student,
        'mask of the body term, without the edge term': body - cwd,
        'edge term, beside the body term': whole - body,
        'PRM, in the edge term alone': edge - ablation('pom'),
        'body term alone: softmax over positions instead of classes': body - ablation('body-classes'),
        'edge term alone: softmax over positions instead of classes': ablation('edge-positions') - edge,
    }
    deviation = np.std([scores(f'main/bpkd-{seed}') for seed in SEEDS], axis=0, ddof=1)
    noise = {
        'standard deviation of one run of BPKD over the seeds': deviation,
        'two standard deviations of the difference of two runs': 2 * 2**0.5 * deviation,
    }
    cells = {name: [f'{value:+.1f}' for value in row] for name, row in rows.items()}
    cells.update({name: [f'{value:.1f}' for value in row] for name, row in noise.items()})
    print_rows(list(COLUMNS.values()), cells, cells.__getitem__)


def print_student_alone() -> None:
    runs: dict[str, str] = {
        'GPU, float32': 'results/1000/student-0',
        'CPU, bfloat16': 'main/student-0',
        'CPU, float32': 'below_student/student-0',
    }
    print_rows(list(COLUMNS.values()), runs, lambda name: [f'{score:.2f}' for score in scores(runs[name])])


if __name__ == '__main__':
    print_heading('Lead of BPKD')
    print_summary()
    print_heading('Pixel accuracy')
    print_accuracy()
    print_heading('Parts of the loss')
    print_parts()
    print_heading('Student alone with seed 0')
    print_student_alone()
