"""Figures of the JSON files of `tools/experiment.py` and `tools/test.py --out`."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmseg_bpkd.grids.plots import style
from mmseg_bpkd.grids.run_results import Results, bands, per_class_name, title

TRIMAP = 'trimap/mIoU'
BARS_PER_ROW = 80
SPREAD = 'lines: standard deviation over the seeds'


def describe(values: Sequence[float] | np.ndarray) -> dict:
    """Returns the mean, the standard deviation of one run (n - 1; None for one value), and the values."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return dict(mean=float(np.mean(values)) if len(values) else None, std=spread, values=list(map(float, values)))


def classes_figure(
    sources: Sequence[str],
    names: Sequence[str] | None = None,
    metric: str = 'trimap/mIoU@3px',
    classes: Sequence[str] | None = None,
) -> tuple[Figure, dict]:
    """Bars: the IoU of each class and run, as a mean over the seeds (Figure 6 and Table 8 of the BPKD paper).

    Args:
        sources: folders and JSON files of results.
        names: which runs to show, in this order; default: all.
        metric: the mean IoU whose classes are shown.
        classes: which classes to show, in this order; default: all.

    Returns:
        The figure, and its numbers.

    Raises:
        ValueError: if the results cannot be used, see `Results`, or if a run has no such class.
    """
    results = Results(sources, names, [metric])
    runs = {name: results.values_per_class(name, metric) for name in results.names}
    for name, class_iou in runs.items():
        if not class_iou:
            paths = ', '.join(run['path'] for run in results.runs[name].values())
            raise ValueError(f'{paths}: no {per_class_name(metric)} of each class; write it with bpkd test --out')
    shown = list(classes or next(iter(runs.values())))
    for name, class_iou in runs.items():
        missing = [cls for cls in shown if cls not in class_iou]
        if missing:
            raise ValueError(f'{name} has no class {", ".join(missing)}: its classes are {", ".join(class_iou)}')
    numbers = {name: {cls: describe(class_iou[cls]) for cls in shown} for name, class_iou in runs.items()}
    return _bars(numbers, shown, metric, results), dict(figure='classes', metric=per_class_name(metric), runs=numbers)


def _bars(numbers: dict[str, dict], shown: list[str], metric: str, results: Results) -> Figure:
    per_row = max(1, BARS_PER_ROW // len(numbers))
    rows = [shown[start : start + per_row] for start in range(0, len(shown), per_row)]
    width = 1.4 + 0.13 * len(numbers) * len(rows[0]) + 0.35 * len(rows[0])
    figure = Figure(figsize=(max(6.0, width), 0.9 + 2.9 * len(rows)), layout='constrained')
    axes = figure.subplots(len(rows), 1, squeeze=False, sharey=True)[:, 0]
    bar = 0.84 / len(numbers)
    for axis, classes in zip(axes, rows):
        for place, (name, class_iou) in enumerate(numbers.items()):
            x = np.arange(len(classes)) + (place - (len(numbers) - 1) / 2) * bar
            means = [np.nan if class_iou[cls]['mean'] is None else class_iou[cls]['mean'] for cls in classes]
            spread = [class_iou[cls]['std'] or np.nan for cls in classes]
            looks = dict(color=style(place)['color'], hatch=[None, '///', '...', 'xxx'][place // 7 % 4])
            axis.bar(x, means, 0.9 * bar, label=_counted(results, name), edgecolor='white', linewidth=0, **looks)
            axis.errorbar(x, means, spread, fmt='none', ecolor='gray', capsize=2, linewidth=1)
        axis.set_xticks(range(len(classes)), classes, rotation=25, ha='right')
        axis.tick_params(axis='x', length=0)
        axis.set_xlim(-0.6, len(rows[0]) - 0.4)
        axis.set_ylabel('IoU in %')
        axis.grid(axis='y', alpha=0.3)
        axis.set_axisbelow(True)
    _head(figure, axes[0], f'{title(per_class_name(metric))} of each class', results)
    return figure


def curves_figure(
    sources: Sequence[str], names: Sequence[str] | None = None, against: str | None = None
) -> tuple[Figure, dict]:
    """Trimap mIoU over the half-width of the band, and the differences to one of the runs.

    Args:
        sources: folders and JSON files of results.
        names: which runs to show, in this order; default: all.
        against: the run to compare with; default: 'student' if there is one, else the first. Differences are between
            runs with the same seed.

    Returns:
        The figure, and its numbers.

    Raises:
        ValueError: if the results cannot be used, see `Results`, if they have fewer than two bands or different bands,
            or if there is no run to compare with.
    """
    results = Results(sources, names)
    widths = _shared_bands(results)
    reference = results.reference(against)
    curves = {
        name: {f'{width:g}': describe(results.values(name, key)) for width, key in widths.items()}
        for name in results.names
    }
    differences = {
        name: {f'{width:g}': describe(_differences(results, name, reference, key)) for width, key in widths.items()}
        for name in results.names
        if name != reference and results.common_seeds(name, reference)
    }
    figure = Figure(figsize=(10.5, 4.2), layout='constrained')
    left, right = figure.subplots(1, 2)
    _curves(left, curves, results)
    left.set_ylabel('trimap mIoU in %')
    _curves(right, differences, results)
    right.axhline(0, **{**style(results.names.index(reference)), 'marker': None}, linewidth=1)
    right.set_ylabel(f'difference to {reference} in percentage points')
    _head(figure, left, 'Trimap mIoU over the width of the band', results)
    return figure, dict(figure='curves', metric=TRIMAP, against=reference, runs=curves, differences=differences)


def _shared_bands(results: Results) -> dict[float, str]:
    """Returns the bands of trimap mIoU that all runs have: {half-width: name of the metric}."""
    run_bands = {run['path']: bands(list(run['metrics'])).get(TRIMAP, {}) for run in results.all_runs()}
    first, widths = next(iter(run_bands.items()))
    for path, others in run_bands.items():
        if not others:
            raise ValueError(
                f'{path} has no {TRIMAP} of two or more bands: test with '
                '--cfg-options test_evaluator.1.half_width="[1,2,3,5,8,12]"'
            )
        if others != widths:
            raise ValueError(f'the bands differ: {first} has {_listed(widths)}, but {path} has {_listed(others)}')
    return widths


def _listed(widths: dict[float, str]) -> str:
    return ', '.join(f'{width:g}' for width in widths) + ' px'


def _differences(results: Results, name: str, reference: str, key: str) -> list[float]:
    ours, theirs = results.runs[name], results.runs[reference]
    seeds = results.common_seeds(name, reference)
    return [round(ours[seed]['metrics'][key] - theirs[seed]['metrics'][key], 4) for seed in seeds]


def _curves(axis: Axes, curves: dict[str, dict], results: Results) -> None:
    for name, curve in curves.items():
        x = [float(width) for width in curve]
        look = style(results.names.index(name))
        spread = [point['std'] or np.nan for point in curve.values()]
        means = [point['mean'] for point in curve.values()]
        axis.errorbar(x, means, spread, label=_counted(results, name), markersize=4, capsize=2, **look)
        axis.set_xticks(x, list(curve))
    axis.set_xlabel('half-width of the band in pixels')
    axis.grid(alpha=0.3)


def _counted(results: Results, name: str) -> str:
    count = len(results.runs[name])
    return name if count == 1 else f'{name} (n={count})'


def _head(figure: Figure, axis: Axes, text: str, results: Results) -> None:
    several = any(len(runs) > 1 for runs in results.runs.values())
    figure.suptitle(f'{text} (mean; {SPREAD})' if several else f'{text} (one seed)', fontsize=11)
    handles, labels = axis.get_legend_handles_labels()
    handles = [getattr(handle, 'lines', [handle])[0] for handle in handles]  # without the caps of error bars
    figure.legend(handles, labels, loc='outside right upper', fontsize=9, frameon=False)
