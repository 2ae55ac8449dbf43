"""The results of the runs of a grid."""

import json
import math
import os
import os.path as osp
from collections.abc import Sequence
from glob import escape, glob
from os import PathLike

import numpy as np

from mmseg_bpkd.evaluation.metrics import load_counts
from mmseg_bpkd.fileio.data_files import read_json

from .statistics import Difference, bootstrap_interval, mean_iou, paired_difference

SAME_FOR_ALL_SEEDS = ('config', 'merge', 'overrides', 'steps')


class Results:
    """The runs in a folder, by name and seed. Files of `tools/test.py --out` that are named <name>-<seed>.json will do.

    Args:
        folder: with one JSON per run, and beside it the counts of each image, if they are to be used. Or a list of such
            folders and JSON files.
        names: which to read, in this order; by default all, sorted.
        metrics: which to use; by default, those of `main_metrics`. With the counts of each image, there is also the
            mIoU outside each trimap band, such as `body/mIoU@3px`.

    Raises:
        ValueError: if there are no results, if a name or metric is missing, if two files have the same name and seed,
            or if the runs of a name differ in more than their seed.
    """

    def __init__(
        self,
        folder: str | PathLike | Sequence[str],
        names: Sequence[str] | None = None,
        metrics: Sequence[str] | None = None,
    ) -> None:
        self.runs: dict[str, dict[int, dict]] = {}
        sources = [os.fspath(folder)] if isinstance(folder, (str, PathLike)) else folder
        for path in _json_files(sources):
            run = {**_name_and_seed(path), **read_result(path)}
            seeds = self.runs.setdefault(run['name'], {})
            if run['seed'] in seeds:
                raise ValueError(f'{path} and {seeds[run["seed"]]["path"]} have the same name and seed: remove one')
            seeds[run['seed']] = dict(run, path=path)
        self._select(names or list(self.runs), ', '.join(sources))
        self._counts: dict[str, dict[str, np.ndarray]] = {}
        for run in self.all_runs():
            bodies = {name: counts for name, counts in self._counts_of(run).items() if name.startswith('body/')}
            run['metrics'].update({name: round(float(mean_iou(counts)), 2) for name, counts in bodies.items()})
        self.metrics = list(metrics or main_metrics([list(run['metrics']) for run in self.all_runs()]))
        self._check()

    def _select(self, names: Sequence[str], folder: str) -> None:
        missing = [name for name in names if name not in self.runs]
        if missing:
            raise ValueError(f'no run named {", ".join(missing)} in {folder}, which has {", ".join(self.runs)}')
        self.runs = {name: self.runs[name] for name in names}

    def _check(self) -> None:
        for name, runs in self.runs.items():
            for key in SAME_FOR_ALL_SEEDS:
                values = {json.dumps(run.get(key)): run['path'] for run in runs.values()}
                if len(values) > 1:
                    raise ValueError(f'the runs named {name} differ in {key}: {values}. Give them different names')
            for run in runs.values():
                missing = [metric for metric in self.metrics if metric not in run['metrics']]
                if missing:
                    raise ValueError(f'{run["path"]} has no {", ".join(missing)}, only {", ".join(run["metrics"])}')

    @property
    def names(self) -> list[str]:
        return list(self.runs)

    def all_runs(self) -> list[dict]:
        return [run for runs in self.runs.values() for run in runs.values()]

    def reference(self, name: str | None = None) -> str:
        """The name to compare the others with: `name`, by default 'student' if there is one, else the first.

        Raises:
            ValueError: if there is no such name.
        """
        reference = name or ('student' if 'student' in self.names else self.names[0])
        if reference not in self.names:
            raise ValueError(f'no run named {reference} to compare with; there are {", ".join(self.names)}')
        return reference

    def common_seeds(self, name: str, other: str) -> list[int]:
        return sorted(self.runs[name].keys() & self.runs[other].keys())

    def values(self, name: str, metric: str) -> np.ndarray:
        """The values of a metric, one per seed."""
        return np.array([run['metrics'][metric] for _, run in sorted(self.runs[name].items())])

    def per_class(self, name: str, metric: str) -> dict[str, float]:
        """The mean over seeds of the IoU of each class; empty if the results do not have it."""
        values = self.values_per_class(name, metric)
        return {cls: float(np.mean(ious)) if ious else math.nan for cls, ious in values.items()}

    def values_per_class(self, name: str, metric: str) -> dict[str, list[float]]:
        """The IoU of each class, one value per seed in which it has one; empty if the results have no classes."""
        runs = [run.get('per_class', {}).get(per_class_name(metric), {}) for _, run in sorted(self.runs[name].items())]
        return {cls: [run[cls] for run in runs if run.get(cls) is not None] for cls in runs[0]}

    def cost(self, name: str, key: str) -> float | None:
        """The mean over seeds of `ms_per_step`, `training_s` or another number that is not a metric."""
        values = [run[key] for run in self.runs[name].values() if run.get(key) is not None]
        return float(np.mean(values)) if values else None

    def difference(self, name: str, other: str, metric: str, block: int = 1) -> Difference | None:
        """How much higher a metric of `name` is than that of `other`, over the seeds that both have. None if none."""
        seeds = self.common_seeds(name, other)
        if not seeds:
            return None
        pairs = [(self.runs[name][seed], self.runs[other][seed]) for seed in seeds]
        difference = paired_difference(*zip(*((a['metrics'][metric], b['metrics'][metric]) for a, b in pairs)))
        counts = [(self.counts(a, metric), self.counts(b, metric)) for a, b in pairs]
        kept = [(a, b) for a, b in counts if a is not None and b is not None]
        if len(kept) == len(pairs):
            self._check_images([run for pair in pairs for run in pair])
            difference.over_images = bootstrap_interval(kept, block)
        return difference

    def counts(self, run: dict, metric: str) -> np.ndarray | None:
        """The counts of each image, (images, 3, classes); None if they were not kept.

        Raises:
            ValueError: if they do not give the metric of the JSON, so that one of the files is of another test.
        """
        counts = self._counts_of(run)
        if metric not in counts:
            return None
        computed, stored = float(mean_iou(counts[metric])), run['metrics'][metric]
        if abs(computed - stored) > 0.01:
            raise ValueError(
                f'{metric} is {stored} in {run["path"]}, but {computed:.2f} by the counts of the images beside it: '
                'they are of different tests. Remove both and start the grid again'
            )
        return counts[metric]

    def _counts_of(self, run: dict) -> dict[str, np.ndarray]:
        """The counts of each image, by metric, and the names of the images; empty if they were not kept."""
        path = f'{osp.splitext(run["path"])[0]}.npz'
        if path not in self._counts:
            counts = load_counts(path) if osp.isfile(path) else {}
            self._counts[path] = {**counts, **body_counts(counts)}
        return self._counts[path]

    def _check_images(self, runs: Sequence[dict]) -> None:
        images = [self._counts_of(run)['images'].tolist() for run in runs]
        for run, tested in zip(runs, images):
            if tested != images[0]:
                raise ValueError(f'{run["path"]} and {runs[0]["path"]} were tested on different images')


def read_result(path: str) -> dict:
    """Reads the JSON file of a run, or of `bpkd test --out`.

    Raises:
        ValueError: if it is not such a file.
    """
    run = read_json(path)
    metrics = run.get('metrics')
    if not isinstance(metrics, dict) or not all(isinstance(value, (int, float)) for value in metrics.values()):
        raise ValueError(f'{path} is not the result of a run: it has no metrics, or they are not numbers')
    for key, kind in dict(name=str, seed=int, per_class=dict, curve=list, overrides=dict, versions=dict).items():
        if not isinstance(run.get(key, kind()), kind):
            raise ValueError(f'{path} is damaged: its {key} is {run[key]!r}, expected a {kind.__name__}')
    return run


def _json_files(sources: Sequence[str]) -> list[str]:
    """Returns the files that are named, and those of the folders that are named."""
    files: list[str] = []
    for source in sources:
        found = [source] if osp.isfile(source) else sorted(glob(osp.join(escape(source), '*.json')))
        if not found:
            raise ValueError(f'no results in {source}: expected the JSON files of bpkd experiment')
        files += found
    return files


def _name_and_seed(path: str) -> dict:
    """What the name of a file says: `bpkd-0.json` is name bpkd, seed 0, and `teacher.json` name teacher, seed 0."""
    stem = osp.splitext(osp.basename(path))[0]
    name, _, seed = stem.rpartition('-')
    return dict(name=name, seed=int(seed)) if name and seed.isdigit() else dict(name=stem, seed=0)


def body_counts(counts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The counts of the pixels outside each trimap band: those of all pixels without those in the band."""
    return {
        name.replace('trimap/', 'body/'): counts['mIoU'] - in_band
        for name, in_band in counts.items()
        if name.startswith('trimap/mIoU') and 'mIoU' in counts
    }


def main_metrics(metric_names: Sequence[Sequence[str]]) -> list[str]:
    """The mean IoUs that all runs have. Of several bands, that of 3 pixels or else the first."""
    common = [name for name in metric_names[0] if 'mIoU' in name and all(name in names for names in metric_names)]
    chosen: dict[str, str] = {}
    for name in common:
        kind = name.split('@')[0]
        if kind not in chosen or name.endswith('@3px'):
            chosen[kind] = name
    return list(chosen.values())


def bands(metrics: Sequence[str]) -> dict[str, dict[float, str]]:
    """Metrics of several bands: {'trimap/mIoU': {1.0: 'trimap/mIoU@1px', ...}}. Only kinds with at least two widths."""
    found: dict[str, dict[float, str]] = {}
    for name in metrics:
        kind, _, band = name.partition('@')
        if 'mIoU' in kind and band.endswith('px'):
            found.setdefault(kind, {})[float(band[:-2])] = name
    return {kind: dict(sorted(widths.items())) for kind, widths in found.items() if len(widths) > 1}


def per_class_name(metric: str) -> str:
    """`trimap/mIoU@3px` to `trimap/IoU@3px`."""
    return metric.replace('mIoU', 'IoU')


def title(metric: str) -> str:
    """`trimap/mIoU@3px` to `trimap mIoU (3 px)`, as the docs write it."""
    kind, _, band = metric.partition('@')
    kind = kind.replace('boundary/mIoU', 'boundary IoU').replace('/', ' ')
    if band.endswith('px'):
        return f'{kind} ({band[:-2]} px)'
    if band.endswith('diag'):
        return f'{kind} ({100 * float(band[:-4]):g} %)'
    return metric.replace('/', ' ')
