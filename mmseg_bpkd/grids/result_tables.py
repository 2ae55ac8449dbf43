"""Tables of results, as Markdown and CSV."""

import csv
import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mmseg_bpkd.fileio.writing import replacing

from .run_results import Results, per_class_name, title


@dataclass
class Table:
    """A table with a heading, and a sentence that explains it.

    Args:
        heading: its title.
        header: the names of its columns. The first column has the names of the runs.
        rows: its cells.
        note: how to read it.
    """

    heading: str
    header: list[str]
    rows: list[list[str]] = field(default_factory=list)
    note: str = ''

    # Too short for a dependency such as tabulate or pandas.
    def markdown(self) -> str:
        lines = [f'## {_escaped(self.heading)}', '', _row(self.header), '|---|' + '---:|' * (len(self.header) - 1)]
        lines += [_row(row) for row in self.rows]
        return '\n'.join(lines + (['', _escaped(self.note)] if self.note else [])) + '\n'


def _row(cells: Sequence[str]) -> str:
    return '| ' + ' | '.join(map(_escaped, cells)) + ' |'


def _escaped(text: str) -> str:
    """Names and options of runs as Markdown: no tags, links or columns."""
    return ' '.join(html.escape(text, quote=False).replace('|', '\\|').replace('[', '\\[').split())


def accuracy_table(results: Results) -> Table:
    table = Table('Results', ['', 'seeds', *map(title, results.metrics)])
    table.note = 'Mean over the seeds, and the standard deviation of one run (n - 1 in the denominator).'
    for name in results.names:
        values = [results.values(name, metric) for metric in results.metrics]
        table.rows.append([name, str(len(results.runs[name])), *map(mean_and_spread, values)])
    return table


def mean_and_spread(values: np.ndarray) -> str:
    spread = f' ± {values.std(ddof=1):.2f}' if len(values) > 1 else ''
    return f'{values.mean():.2f}{spread}'


def difference_table(results: Results, reference: str, metric: str, block: int = 1) -> Table:
    header = ['', 'pairs', 'difference', '95 % over seeds', '95 % over images', 'verdict']
    table = Table(f'{title(metric)}: difference to {reference}', header)
    drawn = f'blocks of {block} neighboring images' if block > 1 else 'single images'
    table.note = (
        "A pair is two runs with the same seed. The interval over seeds is that of Student's t distribution; the "
        'verdict is "higher" or "lower" if it does not contain 0. The interval over images is a bootstrap that draws '
        f'{drawn} from the test set. The intervals are not corrected for the number of comparisons.'
    )
    for name in results.names:
        if name == reference:
            continue
        difference = results.difference(name, reference, metric, block)
        if difference is None:
            table.rows.append([name, '0', '', '', '', 'no common seed'])
        else:
            intervals = [_interval(difference.over_seeds), _interval(difference.over_images)]
            cells = [str(difference.n), f'{difference.mean:+.2f}', *intervals, difference.verdict]
            table.rows.append([name, *cells])
    return table


def _interval(interval: tuple | None) -> str:
    return f'{interval[0]:+.2f} to {interval[1]:+.2f}' if interval else ''


def cost_table(results: Results, reference: str) -> Table:
    header = ['', 'steps', 'ms per step', f'x {reference}', 'training', 'peak memory']
    table = Table('Cost of training', header)
    table.note = (
        'Mean over the seeds. Training is the time of the steps, without validation. Memory is that allocated on the '
        'GPU, or the resident memory of the process on a CPU. Compare the times only if the runs had the machine for '
        'themselves, or the same share of it.'
    )
    base = results.cost(reference, 'ms_per_step')
    for name in results.names:
        steps, ms, training, memory = (
            results.cost(name, key) for key in ('steps', 'ms_per_step', 'training_s', 'peak_memory_mib')
        )
        ratio = ms / base if ms and base else None
        formats = [(steps, '{:.0f}'), (ms, '{:.0f}'), (ratio, '{:.2f}'), (training, '{:.0f} s'), (memory, '{:.0f} MiB')]
        table.rows.append([name, *('' if value is None else text.format(value) for value, text in formats)])
    return table


def class_table(results: Results, metric: str) -> Table | None:
    """IoU of each class; None if the results do not have it."""
    values = {name: results.per_class(name, metric) for name in results.names}
    classes = next((list(class_iou) for class_iou in values.values() if class_iou), None)
    if classes is None:
        return None
    table = Table(f'{title(per_class_name(metric))} of each class', ['', *classes], note='Mean over the seeds.')
    for name, class_iou in values.items():
        cells = [class_iou.get(cls, math.nan) for cls in classes]
        table.rows.append([name, *('' if math.isnan(value) else f'{value:.2f}' for value in cells)])
    return table


def settings_table(results: Results) -> Table:
    table = Table('Settings', ['', 'seeds', 'config', 'changes', 'device', 'torch', 'commit'])
    for name, runs in results.runs.items():
        run = next(iter(runs.values()))
        changes = [*run.get('merge', []), *(f'{key}={value}' for key, value in run.get('overrides', {}).items())]
        table.rows.append(
            [
                name,
                ', '.join(map(str, sorted(runs))),
                run.get('config', ''),
                ', '.join(changes),
                _all(runs, lambda run: run.get('device')),
                _all(runs, lambda run: run.get('versions', {}).get('torch')),
                _all(runs, lambda run: run.get('versions', {}).get('commit')),
            ]
        )
    return table


def _all(runs: dict, get) -> str:
    return ', '.join(sorted({str(get(run)) for run in runs.values() if get(run)}))


def tables(results: Results, references: Sequence[str], block: int = 1) -> list[Table]:
    """All tables. Those with times are last, so that everything before them is the same if a run is repeated."""
    differences = [difference_table(results, other, key, block) for other in references for key in results.metrics]
    for table in differences[1:]:
        table.note = ''  # as under the first
    return [
        accuracy_table(results),
        *differences,
        *filter(None, (class_table(results, metric) for metric in results.metrics)),
        cost_table(results, references[0]),
        settings_table(results),
    ]


def write_csv(results: Results, path: str) -> None:
    """Writes one line per run, with every metric and the cost."""
    metrics = sorted({name for run in results.all_runs() for name in run['metrics']})
    costs = ['steps', 'ms_per_step', 'training_s', 'wall_clock_s', 'peak_memory_mib']
    with replacing(path) as part, open(part, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(['name', 'seed', *metrics, *costs])
        for name in results.names:
            for seed, run in sorted(results.runs[name].items()):
                numbers = [run['metrics'].get(key, '') for key in metrics] + [run.get(key, '') for key in costs]
                writer.writerow([name, seed, *numbers])
