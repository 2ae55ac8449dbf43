"""Runs the checks on the datasets of a config: all of them for `bpkd check`, those that are quick before training."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from mmseg_bpkd.datasets.labels import DataError

from .classes import check_classes, model_problems
from .content import Summary, check_absent_classes, check_content
from .decoding import Reading, read_pair, read_pairs
from .findings import Findings
from .listing import list_split
from .pairing import Published, check_pairs, check_shared_images
from .probes import probe_all
from .roots import check_data_roots
from .splits import Split, splits_of


@dataclass
class Result:
    """The results of all checks so far.

    Args:
        readings: {name of a split: its decoded pairs}.
        summaries: {name of a split: totals of its decoded pairs}; only splits of which something was decoded.
    """

    splits: list[Split]
    findings: Findings = field(default_factory=Findings)
    readings: dict[str, list[Reading]] = field(default_factory=lambda: defaultdict(list))
    summaries: dict[str, Summary] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """1 if there are errors, else 0."""
        return 1 if self.findings.of('error') else 0

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """Records an exception as an error of the check or the split `what`, so that other checks still run."""
        try:
            yield
        except Exception as error:
            self.findings.error(what, f'this check raised {type(error).__name__} ({error}); the other checks still ran')

    def list_files(self) -> None:
        for split in self.splits:
            with self.attempt(split.name):
                list_split(split, self.findings)

    def check_readings(self, sampled: bool = False) -> None:
        """Checks what was decoded. `sampled`: whether only a few labels were."""
        for split in self.splits:
            readings = sorted(self.readings[split.name], key=lambda reading: reading.pair.image)
            if readings:
                with self.attempt(split.name):
                    self.summaries[split.name] = check_content(split, readings, self.findings)
        training = [split for split in self.splits if split.loader == 'train' and split.name in self.summaries]
        if training:
            with self.attempt('classes'):
                summaries = [self.summaries[split.name] for split in training]
                check_absent_classes(training, summaries, self.findings, sampled)


def check_datasets(
    splits: list[Split],
    published: Published,
    seconds: float | None = 60,
    workers: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
    model: dict | None = None,
) -> Result:
    """Checks names, pairs, number and completeness of all files. Decodes as many of them as the time limit allows.

    Args:
        splits: from `splits_of`.
        published: {loader: published number of images}. If it is a sequence, each of its numbers is accepted.
        seconds: time limit for decoding. None decodes every file.
        workers: number of processes that decode. 0 decodes in this process.
        progress: called after each decoded pair with two numbers: of decoded pairs and of all pairs.
        model: config of the model, whose number of classes is compared with that of each split.

    Returns:
        The findings and what was decoded. Problems of the data do not raise exceptions.
    """
    result = Result(splits)
    findings, attempt = result.findings, result.attempt
    result.list_files()
    for split in splits:
        with attempt(split.name):
            for problem in model_problems(split, model) if model and split.dataset is not None else ():
                findings.error(split.name, problem)
    with attempt('pairs and counts'):
        check_pairs(splits, published, findings)
    pairs = [pair for split in splits for pair in split.pairs]
    probes = probe_all(path for pair in pairs for path in (pair.image, pair.label) if path)
    with attempt('shared images'):
        check_shared_images(splits, probes, findings)
    with attempt('reading'):
        try:
            for count, reading in enumerate(read_pairs(pairs, probes, seconds, workers), 1):
                result.readings[reading.pair.split].append(reading)
                progress(count, len(pairs))
        except KeyboardInterrupt:
            count = sum(map(len, result.readings.values()))
            findings.warning(
                'reading', f'interrupted after {count} of {len(pairs)} pairs: the results cover only these'
            )
    result.check_readings()
    return result


def check_data(cfg: Config, *loaders: str) -> None:
    """What every command checks before it uses the data of the loaders ('train', 'val' or 'test').

    Raises:
        FileNotFoundError, ValueError: see `check_data_roots`, `check_classes` and `check_files`.
    """
    check_data_roots(cfg, *(f'{loader}_dataloader' for loader in loaders))
    check_classes(cfg, *loaders)
    check_files(cfg, *loaders)


def check_files(cfg: Config, *loaders: str) -> None:
    """Lists the images of the loaders ('train', 'val' or 'test'), before they are used.

    Raises:
        DataError: if there are no images or labels, or a listed image does not exist.
    """
    for error in _listed(cfg, loaders).findings.of('error'):
        raise DataError(f'{error.place}: {error.text}. bpkd check CONFIG checks the whole data set')


def sample_problems(cfg: Config, count: int = 8) -> list[str]:
    """Decodes `count` images and labels of each training set, and returns one sentence per problem."""
    result = _listed(cfg, ['train'])
    result.findings.clear()  # `check_files` raises them
    for split in result.splits:
        labeled = [pair for pair in split.pairs if pair.label]
        result.readings[split.name] = [read_pair(pair) for pair in labeled[:: max(1, len(labeled) // count)][:count]]
    result.check_readings(sampled=True)
    return [f'{finding.place}: {finding.text}' for finding in result.findings]


def _listed(cfg: Config, loaders: Sequence[str]) -> Result:
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        splits = splits_of({f'{loader}_dataloader': cfg.get(f'{loader}_dataloader') for loader in loaders})
        result = Result([split for split in splits if _can_be_built(split)])
        result.list_files()
    return result


def _can_be_built(split: Split) -> bool:
    try:
        DATASETS.build(dict(split.cfg, pipeline=[], lazy_init=True))
    except Exception:  # the Runner says why
        return False
    return True
