"""All checks of the data sets of a config, one after the other."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Callable, Dict, List, Optional

from .content import Summary, judge, judge_classes
from .files import Probe, probe_all
from .findings import Findings
from .listing import list_split
from .pairing import Published, check_pairs, check_shared_images
from .reading import Reading, read_pairs
from .splits import Split


@dataclass
class Result:
    """What is known so far. A check that fails itself becomes a finding, and the others go on."""

    splits: List[Split]
    findings: Findings = field(default_factory=Findings)
    readings: Dict[str, List[Reading]] = field(default_factory=lambda: defaultdict(list))
    summaries: Dict[str, Summary] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        return 1 if self.findings.of('error') else 0

    def attempt(self, what: str, check: Callable, *args) -> None:
        """Calls a check that works in place."""
        try:
            check(*args)
        except Exception as error:
            self.findings.error(what, f'this check itself failed, the others went on ({type(error).__name__}: {error})')


def check_datasets(
    splits: List[Split],
    published: Published,
    seconds: Optional[float] = 60,
    workers: int = 0,
    progress: Callable[[int, int], None] = lambda read, there: None,
) -> Result:
    """Checks names, pairs, counts and ends of all files, and decodes as many as the time allows.

    Args:
        published: the number of images, or numbers that are right, by loader.
        seconds: for decoding; None decodes every file.
        workers: processes that decode; 0: this one.
        progress: is told how many pairs of how many were read.
    """
    result = Result(splits)
    for split in splits:
        result.attempt(split.name, list_split, split, result.findings)
    result.attempt('pairs and counts', check_pairs, splits, published, result.findings)
    pairs = [pair for split in splits for pair in split.pairs or ()]
    probes = probe_all(path for pair in pairs for path in (pair.image, pair.label) if path is not None)
    result.attempt('shared images', check_shared_images, splits, probes, result.findings)
    result.attempt('reading', _read, result, pairs, probes, seconds, workers, progress)
    for split in splits:
        if result.readings[split.name]:
            result.attempt(split.name, _judge, result, split)
    training = [split for split in splits if split.loader == 'train' and split.name in result.summaries]
    if training:
        result.attempt(
            'classes', judge_classes, training, [result.summaries[split.name] for split in training], result.findings
        )
    return result


def _read(
    result: Result,
    pairs: list,
    probes: Dict[str, Probe],
    seconds: Optional[float],
    workers: int,
    progress: Callable[[int, int], None],
) -> None:
    count = 0
    try:
        for reading in read_pairs(pairs, probes, seconds, workers):
            result.readings[reading.pair.split].append(reading)
            count += 1
            progress(count, len(pairs))
    except KeyboardInterrupt:
        result.findings.warning('reading', f'interrupted after {count} of {len(pairs)}: what follows is of these')


def _judge(result: Result, split: Split) -> None:
    readings = sorted(result.readings[split.name], key=lambda reading: reading.pair.image)
    result.summaries[split.name] = judge(split, readings, result.findings)
