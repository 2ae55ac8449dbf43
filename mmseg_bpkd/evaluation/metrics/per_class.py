"""Per-class values, which MMSegmentation's `IoUMetric` prints but does not return."""

from mmseg.evaluation import IoUMetric


def keep_per_class(metric: IoUMetric) -> dict:
    """Makes `metric` store its per-class values when it is evaluated.

    The function wraps `total_area_to_metrics`, which `IoUMetric` and its subclasses call with the summed areas.

    Returns:
        A dict that is empty until `metric` is evaluated. Then it maps each name, such as `trimap/IoU@3px`, to a list
        of percentages, one per class. A class that does not occur has nan.
    """
    kept = {}
    original = metric.total_area_to_metrics

    def total_area_to_metrics(*args, **kwargs):
        values = original(*args, **kwargs)
        prefix, band = (f'{metric.prefix}/' if metric.prefix else ''), getattr(metric, 'band', '')
        kept.update(
            {f'{prefix}{name}{band}': (100 * value).tolist() for name, value in values.items() if name != 'aAcc'}
        )
        return values

    metric.total_area_to_metrics = total_area_to_metrics
    return kept
