"""Print the results as Markdown tables: the main comparison, the paper's ablations, and the shorter looks.

python experiments/camvid_stride4/table.py
"""

import json
import sys
from pathlib import Path

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1]))

from tables import COLUMNS, METHODS, print_heading, print_rows, print_table

from mmseg_bpkd.grids.result_tables import mean_and_spread
from mmseg_bpkd.grids.run_results import Results, bands, title
from mmseg_bpkd.grids.statistics import Difference

HERE = Path(__file__).parent
MAIN = ['student', 'kd', 'nfd', 'cwd', 'bpkd', 'student_same_time']
METRICS = ['mIoU', 'trimap/mIoU@3px', 'body/mIoU@3px', 'boundary/mIoU@0.005diag']
CAM_CLASSES = ('pole', 'fence', 'car', 'bicyclist')
FRAMES = 15  # the bootstrap draws blocks of this many frames: one second of the video
LONG = {'teacher': 'teacher (width 32)', 'student': 'student alone (width 16)'}
BELOW = {
    'student': 'student alone',
    'aicsd_constant_weights': 'AICSD, weights that stay constant',
    'wavelet_tenth': 'wavelet (FreeKD), a tenth of the weights',
}
ABLATIONS = {
    'bpkd_prm': 'edge term without POM, no body term',
    'bpkd_pom': 'edge term without PRM, no body term',
    'bpkd_edge-classes': 'edge term, no body term',
    'bpkd_edge-positions': 'edge term over positions, no body term',
    'bpkd_body-positions': 'body term, no edge term',
    'bpkd_body-classes': 'body term over classes, no edge term',
    'bpkd_prm-body': 'without POM',
    'bpkd_pom-body': 'without PRM',
    **{f'bpkd_width-{k}': f'kernel_size {k}' for k in (3, 5, 10, 15)},
}


def interval(difference: Difference) -> str:
    """`+1.2 (-0.3 to +2.7; +0.4 to +2.0)`: the mean, its interval over seeds and that over images."""
    ends = [f'{low:+.1f} to {high:+.1f}' for low, high in filter(None, (difference.over_seeds, difference.over_images))]
    return f'{difference.mean:+.2f} ({"; ".join(ends)})'


def print_main() -> None:
    results = Results(HERE / 'main', MAIN)
    header = [title(metric) for metric in METRICS]
    print_rows(
        ['seeds', *header],
        results.names,
        lambda name: [
            str(len(results.runs[name])),
            *(mean_and_spread(results.values(name, metric)) for metric in METRICS),
        ],
    )
    print_heading('BPKD minus the others')
    print_rows(
        header,
        [name for name in results.names if name != 'bpkd'],
        lambda name: [interval(results.difference('bpkd', name, metric, FRAMES)) for metric in METRICS],
    )
    print_heading('The distilled students minus the student alone with the same time')
    print_rows(
        header,
        [name for name in results.names if name in METHODS],
        lambda name: [interval(results.difference(name, 'student_same_time', metric, FRAMES)) for metric in METRICS],
    )
    print_heading('Trimap mIoU over the half width of the band')
    trimaps = bands(list(results.all_runs()[0]['metrics']))['trimap/mIoU']
    print_rows(
        [f'{width:g} px' for width in trimaps],
        results.names,
        lambda name: [f'{results.values(name, metric).mean():.2f}' for metric in trimaps.values()],
    )


def print_cost() -> None:
    """Prints what benchmark.py wrote to step.json and, measured again, to step_again.json."""
    cost, again = (_steps(HERE / file) for file in ('step.json', 'step_again.json'))
    print_rows(
        ['time of a step', 'relative to the student alone', 'measured again', 'process memory', 'tensor memory'],
        list(cost),
        lambda name: [
            '{ms:.0f} ms'.format(**cost[name]),
            '{ratio:.2f}x ({ratio_least:.2f} to {ratio_most:.2f})'.format(**cost[name]),
            '{ratio:.2f}x'.format(**again[name]),
            '{memory_ratio:.2f}x'.format(**cost[name]),
            '{tensor_megabytes:.0f} MiB'.format(**cost[name]),
        ],
    )


def _steps(file: Path) -> dict[str, dict]:
    """The measured steps: {method: step}. Their configs lie in folders that are named after the methods."""
    steps = json.loads(file.read_text(encoding='utf-8'))['step']
    cost = {Path(step['config']).parent.name: step for step in steps}
    return {name if name in MAIN else 'student': step for name, step in cost.items()}


def print_entropy() -> None:
    """Prints what entropy.py wrote to entropy.json, and the correlations over all students."""
    scores: dict[str, list[list]] = {}
    for run, measured in json.loads((HERE / 'entropy.json').read_text(encoding='utf-8'))['networks'].items():
        entropies = [measured[kind]['near'] for kind in ('raw', 'scaled')]
        scores.setdefault(run.rsplit('-', 1)[0], []).append([*entropies, measured['trimap/mIoU@3px']])
    print_rows(
        ['networks', 'entropy', 'entropy at unit scale', 'trimap mIoU (3 px)'],
        list(scores),
        lambda name: [str(len(scores[name])), *map(mean_and_spread, np.array(scores[name]).T)],
    )
    students = np.concatenate([scores[name] for name in scores if name != 'teacher'])
    correlations = np.corrcoef(students.T)[-1]
    print(f'\nCorrelation with trimap mIoU: {correlations[0]:.2f}, and {correlations[1]:.2f} at unit scale')


def print_cam() -> None:
    """Prints what cam.py wrote to cam.json: shares in percent; the last row is the area of the classes."""
    found = json.loads((HERE / 'cam.json').read_text(encoding='utf-8'))
    groups: dict[str, list[list[float]]] = {}
    for run, shares in [*found['networks'].items(), ('area of the class', found['area'])]:
        of_classes = [100 * float(np.mean(shares[name])) for name in found['area']]
        shown = [100 * float(np.mean(shares[name])) for name in CAM_CLASSES]
        groups.setdefault(run.rsplit('-', 1)[0], []).append([float(np.mean(of_classes)), *shown])
    print_rows(
        ['networks', 'mean over the classes', *CAM_CLASSES],
        list(groups),
        lambda name: [str(len(groups[name])), *map(mean_and_spread, np.array(groups[name]).T)],
    )


def common_seeds(folder: Path) -> set[str]:
    """The seeds that all methods in the folder have."""
    seeds: dict[str, set[str]] = {}
    for path in folder.glob('*.json'):
        name, seed = path.stem.rsplit('-', 1)
        seeds.setdefault(name, set()).add(seed)
    return set.intersection(*seeds.values())


def two_runs(name: str) -> tuple[Path, Path]:
    """The run on a GPU with seed 0, and that on a CPU with seed 1."""
    second = 'main' if name == 'student' else 'others'
    return HERE / f'results/1000/{name}-0.json', HERE / second / f'{name}-1.json'


def print_all_methods() -> None:
    def score(path: Path, metric: str) -> float:
        return json.loads(path.read_text(encoding='utf-8'))['metrics'][metric]

    def cells(name: str) -> list[str]:
        return [f'{score(path, metric):.2f}' if path.exists() else '' for metric in COLUMNS for path in two_runs(name)]

    header = [f'{column}, {device}' for column in COLUMNS.values() for device in ('GPU', 'CPU')]
    print_rows(header, ['student', *METHODS], cells)
    print_heading('Two runs of all methods')
    twice = [name for name in METHODS if two_runs(name)[1].exists()]
    of_metric = {metric: np.array([[score(p, metric) for p in two_runs(n)] for n in twice]) for metric in COLUMNS}
    alone = {metric: np.array([score(path, metric) for path in two_runs('student')]) for metric in COLUMNS}
    on_gpu = {metric: [score(two_runs(name)[0], metric) for name in METHODS] for metric in COLUMNS}
    rows = {
        'rank correlation of the two runs': [f'{stats.spearmanr(of_metric[m]).statistic:.2f}' for m in COLUMNS],
        f'above the student alone in both runs, of {len(twice)} methods': [
            str((of_metric[m] > alone[m]).all(axis=1).sum()) for m in COLUMNS
        ],
        f'above the student alone on the GPU, of {len(METHODS)} methods': [
            str((np.array(on_gpu[m]) > alone[m][0]).sum()) for m in COLUMNS
        ],
    }
    print_rows(list(COLUMNS.values()), rows, rows.__getitem__)


if __name__ == '__main__':
    print_heading('Main comparison')
    print_main()
    print_heading('Cost')
    print_cost()
    print_heading('Entropy')
    print_entropy()
    print_heading('HiResCAM')
    print_cam()
    print_heading("The paper's ablations")
    seeds = common_seeds(HERE / 'paper_tables')
    print_table(HERE / 'main', {'student': 'student alone', 'bpkd': 'the whole loss, kernel_size 7'}, seeds)
    print_table(HERE / 'main', {'cwd': 'body term without the mask (tuned CWD), no edge term'}, seeds, header=False)
    print_table(HERE / 'paper_tables', ABLATIONS, seeds, header=False)
    print_heading("The same, with the paper's weights")
    print_table(HERE / 'results/1000', {'student': 'student alone', 'bpkd': 'the whole loss'})
    print_table(HERE / 'paper_weights', ABLATIONS, header=False)
    print_heading('All methods, 1000 iterations')
    print_all_methods()
    print_heading('4000 iterations')
    print_table(HERE / 'long', LONG)
    print_table(HERE / 'results/4000', {'student': 'student alone', **METHODS}, header=False)
    ious = json.loads((HERE / 'long/teacher.json').read_text(encoding='utf-8'))['per_class']['IoU']
    (worst, least), (second, next_least), *_ = sorted(ious.items(), key=lambda item: item[1])
    print(f'\nThe lowest IoUs of the teacher are {least:.1f} % ({worst}) and {next_least:.1f} % ({second}).')
    print_heading('AICSD and the wavelet loss')
    print_table(HERE / 'below_student', BELOW)
