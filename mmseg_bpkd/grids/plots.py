"""Plots of results. The colors are those of Okabe and Ito, which color-blind people can tell apart."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .run_results import Results, bands, per_class_name, title

# Without their yellow, which is hard to see on white. Each round of colors has another line.
COLORS = ['#000000', '#E69F00', '#56B4E9', '#009E73', '#0072B2', '#D55E00', '#CC79A7']
LINES, MARKERS = ['-', '--', ':', '-.'], ['o', 's', '^', 'D']


def style(place: int) -> dict:
    turn, color = divmod(place, len(COLORS))
    return dict(color=COLORS[color], linestyle=LINES[turn % len(LINES)], marker=MARKERS[place % len(MARKERS)])


def metrics_plot(results: Results) -> Figure:
    """One panel per metric: the mean of each method, its standard deviation, and every run."""
    names = results.names
    height = 1.2 + 0.3 * len(names)
    figure, axes = _panels(len(results.metrics), height, sharey=True)
    for axis, metric in zip(axes, results.metrics):
        for place, name in enumerate(names):
            values, look = results.values(name, metric), style(place)
            y = len(names) - 1 - place
            spread = values.std(ddof=1) if len(values) > 1 else None
            axis.errorbar(values.mean(), y, xerr=spread, fmt=look['marker'], color=look['color'], capsize=3)
            axis.plot(values, np.full(len(values), y - 0.22), '|', color=look['color'], markersize=6)
        axis.set_title(title(metric), fontsize=10)
        axis.grid(axis='x', alpha=0.3)
    counted = [f'{name} (n={len(results.runs[name])})' for name in reversed(names)]
    axes[0].set_yticks(range(len(names)), counted)
    axes[0].set_ylim(-0.6, len(names) - 0.4)
    return figure


def curves_plot(results: Results, over: str) -> Figure | None:
    """The validation during training: means over the seeds, and the range from the lowest to the highest run.

    Args:
        over: 'step' or 'seconds', the training time.

    Returns:
        None if no run was validated more than once.
    """
    runs = results.all_runs()
    metrics = [metric for metric in results.metrics if any(len(_points(run, metric, over)) > 1 for run in runs)]
    if not metrics:
        return None
    figure, axes = _panels(len(metrics), 3.4)
    for axis, metric in zip(axes, metrics):
        for place, name in enumerate(results.names):
            curve = _mean_curve(list(results.runs[name].values()), metric, over)
            if curve is not None:
                x, mean, low, high = curve
                axis.plot(x, mean, label=name, markersize=3, **style(place))
                if (high > low).any() and len(results.names) <= len(COLORS):  # more ranges hide each other
                    axis.fill_between(x, low, high, color=style(place)['color'], alpha=0.15, linewidth=0)
        axis.set_title(title(metric), fontsize=10)
        axis.set_xlabel('step' if over == 'step' else 'training time in seconds')
        axis.grid(alpha=0.3)
    _legend(figure, axes[0])
    return figure


def _points(run: dict, metric: str, over: str) -> list:
    return [(point[over], point[metric]) for point in run.get('curve', []) if metric in point]


def _mean_curve(runs: Sequence[dict], metric: str, over: str) -> tuple | None:
    """x, mean, lowest and highest. Validations of the same number are averaged, up to the shortest run."""
    curves = [_points(run, metric, over) for run in runs]
    shared = min(map(len, curves))
    if shared < 2:
        return None
    x, y = np.moveaxis(np.array([curve[:shared] for curve in curves]), -1, 0)
    return x.mean(0), y.mean(0), y.min(0), y.max(0)


def bands_plot(results: Results) -> Figure | None:
    """A metric over the width of its band; None if no metric has several widths."""
    kinds = bands(list(results.all_runs()[0]['metrics']))
    if not kinds:
        return None
    figure, axes = _panels(len(kinds), 3.4)
    for axis, (kind, widths) in zip(axes, kinds.items()):
        for place, name in enumerate(results.names):
            runs = results.runs[name].values()
            known = {width: key for width, key in widths.items() if all(key in run['metrics'] for run in runs)}
            means = [results.values(name, key).mean() for key in known.values()]
            axis.plot(list(known), means, label=name, markersize=3, **style(place))
        axis.set_title(title(kind), fontsize=10)
        axis.set_xlabel('pixels on either side of a boundary')
        axis.grid(alpha=0.3)
    _legend(figure, axes[0])
    return figure


def classes_plot(results: Results, reference: str, metric: str) -> Figure | None:
    """How much each class gains over the reference; None if the results have no classes."""
    base = results.per_class(reference, metric)
    others = [name for name in results.names if name != reference and results.per_class(name, metric)]
    if not base or not others:
        return None
    figure, (axis,) = _panels(1, 3.6, width=max(6.0, 0.9 * len(base)))
    offsets = np.linspace(-0.3, 0.3, len(others)) if len(others) > 1 else [0]
    for offset, name in zip(offsets, others):
        class_iou, look = results.per_class(name, metric), style(results.names.index(name))
        gains = [class_iou.get(cls, np.nan) - value for cls, value in base.items()]
        axis.plot(np.arange(len(base)) + offset, gains, look['marker'], color=look['color'], markersize=5, label=name)
    axis.axhline(0, color='gray', linewidth=1)
    for place in range(1, len(base)):
        axis.axvline(place - 0.5, color='gray', linewidth=0.4, alpha=0.5)
    axis.set_xticks(range(len(base)), list(base), rotation=30, ha='right')
    axis.set_ylabel(f'difference to {reference}')
    axis.set_title(f'{title(per_class_name(metric))} of each class', fontsize=10)
    _legend(figure, axis)
    return figure


def _panels(count: int, height: float, width: float | None = None, **options) -> tuple:
    figure = Figure(figsize=(width or 1.2 + 3.4 * count, height), layout='constrained')
    return figure, figure.subplots(1, count, squeeze=False, **options)[0]


def _legend(figure: Figure, axis: Axes) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside right upper', fontsize=8, frameon=False)


def plots(results: Results, reference: str) -> dict[str, Figure]:
    """All plots that the results allow: {name of the file: figure}."""
    figures = {
        'metrics': metrics_plot(results),
        'curve_steps': curves_plot(results, 'step'),
        'curve_time': curves_plot(results, 'seconds'),
        'bands': bands_plot(results),
        **{f'classes_{i + 1}': classes_plot(results, reference, m) for i, m in enumerate(results.metrics)},
    }
    return {name: figure for name, figure in figures.items() if figure is not None}
