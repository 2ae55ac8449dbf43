"""What training and testing check before they start, in the words of `bpkd check`."""

from collections.abc import Sequence

from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from mmseg_bpkd.datasets.labels import DataError

from .all_checks import Result
from .content import check_absent_classes, check_content
from .decoding import read_pair
from .listing import list_split
from .splits import Split, splits_of


def check_files(cfg: Config, *loaders: str) -> None:
    """Lists the images of the data loaders.

    Args:
        loaders: 'train', 'val' or 'test'.

    Raises:
        DataError: if a list or folder has no images, or a listed image does not exist.
    """
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        result = _listed(cfg, loaders)
    for error in result.findings.of('error'):
        raise DataError(f'{error.place}: {error.text}. bpkd check CONFIG checks the whole data set')


def sample_problems(cfg: Config, count: int = 8) -> list[str]:
    """Decodes a few training images and labels, and returns one sentence per problem.

    Args:
        count: of images, of each data set.
    """
    result = _listed(cfg, ['train'])
    result.findings.clear()
    for split in result.splits:
        labeled = [pair for pair in split.pairs if pair.label]
        with result.attempt(split.name):
            readings = [read_pair(pair) for pair in labeled[:: max(1, len(labeled) // count)][:count]]
            if readings:
                result.summaries[split.name] = check_content(split, readings, result.findings)
    training = [split for split in result.splits if split.name in result.summaries]
    if training:
        with result.attempt('classes'):
            summaries = [result.summaries[split.name] for split in training]
            check_absent_classes(training, summaries, result.findings, sampled=True)
    return [f'{finding.place}: {finding.text}' for finding in result.findings]


def _listed(cfg: Config, loaders: Sequence[str]) -> Result:
    splits = splits_of({f'{loader}_dataloader': cfg.get(f'{loader}_dataloader') for loader in loaders})
    result = Result([split for split in splits if _can_be_built(split)])
    for split in result.splits:
        with result.attempt(split.name):
            list_split(split, result.findings)
    return result


def _can_be_built(split: Split) -> bool:
    try:
        DATASETS.build(dict(split.cfg, pipeline=[], lazy_init=True))
    except Exception:  # the Runner says why
        return False
    return True
