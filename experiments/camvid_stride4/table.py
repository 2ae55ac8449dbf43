"""Print the results as Markdown tables: the main comparison, the paper's ablations, and the shorter looks.

python experiments/camvid_stride4/table.py
"""

import json
import sys
from pathlib import Path
from typing import Callable, Dict, List, Set, Tuple

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1]))

from tables import COLUMNS, METHODS, print_table

from mmseg_bpkd.grids.result_tables import mean_and_spread
from mmseg_bpkd.grids.run_results import Results, bands, title
from mmseg_bpkd.grids.statistics import Difference

HERE = Path(__file__).parent
MAIN = {
    'student': 'student alone',
    **{method: METHODS[method] for method in ('kd', 'nfd', 'cwd', 'bpkd')},
    'student_same_time': 'student alone, same time',
}
TITLES = {**METHODS, **MAIN}
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


def print_rows(header: List[str], names: List[str], cells: Callable[[str], List[str]]) -> None:
    print('| | ' + ' | '.join(header) + ' |')
    print('|---|' + '---:|' * len(header))
    for name in names:
        print(f'| {TITLES.get(name, name)} | ' + ' | '.join(cells(name)) + ' |')


def interval(difference: Difference) -> str:
    """`+1.2 (-0.3 to +2.7; +0.4 to +2.0)`: the mean, its interval over seeds and that over images."""
    ends = [f'{low:+.1f} to {high:+.1f}' for low, high in filter(None, (difference.over_seeds, difference.over_images))]
    return f'{difference.mean:+.2f} ({"; ".join(ends)})'


def print_main() -> None:
    results = Results(HERE / 'main', list(MAIN))
    header = [title(metric) for metric in METRICS]
    print_rows(
        ['seeds', *header],
        results.names,
        lambda name: [
            str(len(results.runs[name])),
            *(mean_and_spread(results.values(name, metric)) for metric in METRICS),
        ],
    )
    print('\nBPKD minus the others\n')
    print_rows(
        header,
        [name for name in results.names if name != 'bpkd'],
        lambda name: [interval(results.difference('bpkd', name, metric, FRAMES)) for metric in METRICS],
    )
    print('\nThe distilled students minus the student alone with the same time\n')
    print_rows(
        header,
        [name for name in results.names if name in METHODS],
        lambda name: [interval(results.difference(name, 'student_same_time', metric, FRAMES)) for metric in METRICS],
    )
    print('\nTrimap mIoU over the half width of the band\n')
    trimaps = bands(list(results.all_runs()[0]['metrics']))['trimap/mIoU']
    print_rows(
        [f'{width:g} px' for width in trimaps],
        results.names,
        lambda name: [f'{results.values(name, metric).mean():.2f}' for metric in trimaps.values()],
    )


def print_cost() -> None:
    """Prints what benchmark.py wrote to step.json. Its configs lie in folders that are named after the methods."""
    steps = json.loads((HERE / 'step.json').read_text(encoding='utf-8'))['step']
    cost = {Path(step['config']).parent.name: step for step in steps}
    cost = {name if name in MAIN else 'student': step for name, step in cost.items()}
    print_rows(
        ['time of a step', 'relative to the student alone', 'tensor memory'],
        list(cost),
        lambda name: [
            '{ms:.0f} ms'.format(**cost[name]),
            '{ratio:.2f}x ({ratio_least:.2f} to {ratio_most:.2f})'.format(**cost[name]),
            '{tensor_megabytes:.0f} MiB'.format(**cost[name]),
        ],
    )


def print_entropy() -> None:
    """Prints what entropy.py wrote to entropy.json, and the correlations over all students."""
    scores: Dict[str, List[list]] = {}
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
    groups: Dict[str, List[List[float]]] = {}
    for run, shares in [*found['networks'].items(), ('area of the class', found['area'])]:
        of_classes = [100 * float(np.mean(shares[name])) for name in found['area']]
        shown = [100 * float(np.mean(shares[name])) for name in CAM_CLASSES]
        groups.setdefault(run.rsplit('-', 1)[0], []).append([float(np.mean(of_classes)), *shown])
    print_rows(
        ['networks', 'mean over the classes', *CAM_CLASSES],
        list(groups),
        lambda name: [str(len(groups[name])), *map(mean_and_spread, np.array(groups[name]).T)],
    )


def common_seeds(folder: Path) -> Set[str]:
    """The seeds that all methods in the folder have."""
    seeds: Dict[str, Set[str]] = {}
    for path in folder.glob('*.json'):
        name, seed = path.stem.rsplit('-', 1)
        seeds.setdefault(name, set()).add(seed)
    return set.intersection(*seeds.values())


def two_runs(name: str) -> Tuple[Path, Path]:
    """The run on a GPU with seed 0, and that on a CPU with seed 1."""
    second = 'main' if name == 'student' else 'others'
    return HERE / f'results/1000/{name}-0.json', HERE / second / f'{name}-1.json'


def print_all_methods() -> None:
    def score(path: Path, metric: str) -> float:
        return json.loads(path.read_text(encoding='utf-8'))['metrics'][metric]

    def cells(name: str) -> List[str]:
        return [f'{score(path, metric):.2f}' if path.exists() else '' for metric in COLUMNS for path in two_runs(name)]

    header = [f'{column}, {device}' for column in COLUMNS.values() for device in ('GPU', 'CPU')]
    print_rows(header, ['student', *METHODS], cells)
    twice = [name for name in METHODS if two_runs(name)[1].exists()]
    print(f'\n{len(twice)} methods with two runs: rank correlation of the runs; methods above the student in both')
    for metric, column in COLUMNS.items():
        alone, *scores = np.array([[score(path, metric) for path in two_runs(name)] for name in ('student', *twice)])
        above = (np.array(scores) > alone).all(axis=1).sum()
        print(f'{column}: {stats.spearmanr(scores).statistic:.2f}, {above}')


if __name__ == '__main__':
    print('\nMain comparison\n')
    print_main()
    print('\nCost\n')
    print_cost()
    print('\nEntropy\n')
    print_entropy()
    print('\nHiResCAM\n')
    print_cam()
    print("\nThe paper's ablations\n")
    seeds = common_seeds(HERE / 'paper_tables')
    print_table(HERE / 'main', {'student': 'student alone', 'bpkd': 'the whole loss, kernel_size 7'}, seeds)
    print_table(HERE / 'main', {'cwd': 'body term without the mask (tuned CWD), no edge term'}, seeds, header=False)
    print_table(HERE / 'paper_tables', ABLATIONS, seeds, header=False)
    print("\nThe same, with the paper's weights\n")
    print_table(HERE / 'results/1000', {'student': 'student alone', 'bpkd': 'the whole loss'})
    print_table(HERE / 'paper_weights', ABLATIONS, header=False)
    print('\nAll methods, 1000 iterations\n')
    print_all_methods()
    print('\n4000 iterations\n')
    print_table(HERE / 'long', LONG)
    print_table(HERE / 'results/4000', {'student': 'student alone', **METHODS}, header=False)
    print('\nAICSD and the wavelet loss\n')
    print_table(HERE / 'below_student', BELOW)
