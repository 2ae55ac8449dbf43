"""Per-class values, which mmseg's `IoUMetric` prints but does not return."""

from mmseg.evaluation import IoUMetric


def keep_per_class(metric: IoUMetric) -> dict:
    """Makes `metric` fill the returned dict, as it computes, with {name: value of each class in percent}.

    Works for `IoUMetric` and what is derived from it: all of them pass their totals through
    `total_area_to_metrics`.
    """
    kept = {}
    to_metrics = metric.total_area_to_metrics

    def and_keep(*args, **kwargs):
        values = to_metrics(*args, **kwargs)
        prefix, band = (f'{metric.prefix}/' if metric.prefix else ''), getattr(metric, 'band', '')
        kept.update(
            {f'{prefix}{name}{band}': (100 * value).tolist() for name, value in values.items() if name != 'aAcc'}
        )
        return values

    metric.total_area_to_metrics = and_keep
    return kept
