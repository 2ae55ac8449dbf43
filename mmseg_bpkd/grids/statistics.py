"""Differences between methods, with confidence intervals over seeds and over images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclass
class Difference:
    """The mean of paired differences, with its confidence interval.

    Args:
        mean: the mean.
        n: number of pairs.
        over_seeds: interval of Student's t distribution over the pairs; None for one pair.
        over_images: interval of a bootstrap over the test images; None without their counts.
    """

    mean: float
    n: int
    over_seeds: tuple[float, float] | None = None
    over_images: tuple[float, float] | None = None

    @property
    def verdict(self) -> str:
        """What the interval over seeds says. A difference is clear if the interval does not contain 0."""
        if self.over_seeds is None:
            return 'one seed'
        low, high = self.over_seeds
        return 'higher' if low > 0 else 'lower' if high < 0 else 'not clear'


def paired_difference(a: Sequence[float], b: Sequence[float]) -> Difference:
    """Mean of a - b over pairs, with a confidence interval: mean -+ t * s / sqrt(n), with n - 1 degrees of freedom.

    Args:
        a, b: values of two methods. Values at the same place have the same seed.
    """
    differences = np.asarray(a, float) - np.asarray(b, float)
    n, mean = len(differences), float(differences.mean())
    if n == 1:
        return Difference(mean, n)
    # Not stats.ttest_rel, which warns if all differences are equal, as those of rounded metrics may be.
    margin = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * differences.std(ddof=1) / np.sqrt(n)
    return Difference(mean, n, (float(mean - margin), float(mean + margin)))


def mean_iou(counts: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Mean IoU in percent over images.

    Args:
        counts: intersection, prediction and label of each image, (images, 3, classes).
        weights: how often each image counts, (..., images); once by default.

    Returns:
        (...). Classes that do not occur are left out.
    """
    weights = np.ones(len(counts)) if weights is None else weights
    intersection, predicted, labeled = np.moveaxis(np.tensordot(weights, counts.astype(float), 1), -2, 0)
    union = predicted + labeled - intersection
    with np.errstate(invalid='ignore'):
        return 100 * np.nanmean(np.where(union > 0, intersection / union, np.nan), -1)


def bootstrap_interval(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]], block: int = 1, draws: int = 10000
) -> tuple[float, float]:
    """Percentile interval of a difference of mean IoU over test sets drawn from the images, with replacement.

    Each draw takes the same images for both methods and all seeds. The random numbers are the same in each call.

    Args:
        pairs: for each seed, the counts of both methods, (images, 3, classes) each.
        block: images are drawn in blocks of this many neighbors, and the last image is followed by the first. Frames
            of a video resemble each other, so that single frames would give too narrow an interval.
        draws: number of test sets.

    Raises:
        ValueError: if a block is more than half of the images. The test sets would hardly differ.
    """
    images = len(pairs[0][0])
    if not 1 <= block <= max(1, images // 2):
        raise ValueError(f'block must be from 1 to {max(1, images // 2)}, half of the {images} images, got {block}')
    # scipy.stats.bootstrap has no blocks; arch has, but needs pandas and statsmodels, and calls a function per draw.
    random = np.random.default_rng(0)
    starts = random.integers(images, size=(draws, -(-images // block)))
    drawn = ((starts[..., None] + np.arange(block)) % images).reshape(draws, -1)[:, :images]
    weights = np.stack([np.bincount(row, minlength=images) for row in drawn])
    differences = np.mean([mean_iou(a, weights) - mean_iou(b, weights) for a, b in pairs], axis=0)
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(differences, [tail, 100 - tail])
    return float(low), float(high)
