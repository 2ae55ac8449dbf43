"""Checks the number of images, the pairs of images and labels, and which images are in two splits."""

import os.path as osp
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .findings import Findings, counted, examples
from .listing import scan
from .probes import Probe, same_files
from .splits import Pair, Split

Published = dict[str, int | Sequence[int]]  # {loader: number of images, or all numbers that are accepted}


@dataclass
class Unpaired:
    """Images without label or labels without image, of one split.

    Args:
        kind: 'image' or 'label', what the paths are.
        expected: label of the first image; '' for labels.
    """

    split: Split
    kind: str
    paths: list[str]
    expected: str = ''

    @property
    def names(self) -> str:
        return examples(self.paths, self.split.places.images if self.kind == 'image' else self.split.places.labels)


def check_pairs(splits: Sequence[Split], published: Published, findings: Findings) -> None:
    """Reports wrong numbers of images, images without label and labels without image.

    Sets the label of a pair to None if the file is missing.

    Args:
        published: {loader: published number of images}. If it is a sequence, each of its numbers is accepted.
    """
    used = {pair.label for split in splits for pair in split.pairs or () if pair.label}
    unpaired: list[Unpaired] = []
    for split in splits:
        if split.pairs:
            unpaired += [_remove_missing_labels(split, split.pairs), _labels_without_image(split, used)]
    for loader in dict.fromkeys(split.loader for split in splits):
        parts = [split for split in splits if split.loader == loader]
        numbers = published.get(loader)
        if numbers is not None and all(split.pairs is not None for split in parts):
            accepted = [numbers] if isinstance(numbers, int) else list(numbers)
            explanation = _check_count(parts, accepted, unpaired, findings)
            unpaired = [found for found in unpaired if found is not explanation]
    for found in unpaired:
        if found.paths and found.kind == 'image':
            findings.error(
                found.split.name,
                f'{counted(len(found.paths), "image")} without label: {found.names}, expected {found.expected} for the '
                'first; copy or convert the labels again',
            )
        elif found.paths:
            findings.warning(
                found.split.name,
                f'{counted(len(found.paths), "label")} without image in {found.split.places.images}: {found.names}; '
                'not used in training, check that the copy is complete',
            )


def _remove_missing_labels(split: Split, pairs: list[Pair]) -> Unpaired:
    """Images whose label is missing. Sets the label of their pairs to None."""
    missing = {pair.image: pair.label for pair in pairs if pair.label and not osp.isfile(pair.label)}
    split.pairs = [replace(pair, label=None) if pair.image in missing else pair for pair in pairs]
    return Unpaired(split, 'image', list(missing), next(iter(missing.values()), ''))


def _labels_without_image(split: Split, used: set[str]) -> Unpaired:
    """Labels that no image of `split` matches and that are not in `used`."""
    label_suffix, image_suffix = (getattr(split.dataset, key, '') for key in ('seg_map_suffix', 'img_suffix'))
    folder = split.places.labels
    without: list[str] = []
    if label_suffix and folder is not None and osp.isdir(folder):
        images = set(scan(split.places.images))
        labels = [path for path in scan(folder) if path.endswith(label_suffix)]
        without = [
            osp.join(folder, path) for path in labels if path.removesuffix(label_suffix) + image_suffix not in images
        ]
    return Unpaired(split, 'label', [path for path in without if path not in used])


def _check_count(
    parts: Sequence[Split], accepted: Sequence[int], unpaired: Sequence[Unpaired], findings: Findings
) -> Unpaired | None:
    """Compares the number of images of a loader, whose splits are `parts`, with the published numbers.

    Returns:
        The unpaired files that explain the difference, if any. The finding names them.
    """
    loader, count = parts[0].loader, sum(split.listed for split in parts)
    if count in accepted:
        return None
    too_few, difference = count < min(accepted), min(abs(count - number) for number in accepted)
    kind, other = ('label', 'image') if too_few else ('image', 'label')
    candidates = [found for found in unpaired if found.split.loader == loader and found.kind == kind]
    explanation = next((found for found in candidates if len(found.paths) == difference), None)
    cause = f'; {counted(difference, kind)} without {other}: {explanation.names}' if explanation else ''
    findings.error(
        loader,
        f'{counted(count, "image")} in {examples([split.places.images for split in parts])}, expected '
        f'{" or ".join(map(str, accepted))} as published{cause}; '
        f'{"complete the copy" if too_few else "remove the extra images"}, or accept this number with --cfg-options '
        f'num_images.{loader}={count}',
    )
    return explanation


def check_shared_images(splits: Sequence[Split], probes: dict[str, Probe], findings: Findings) -> None:
    """Reports images of other splits that are also in the training set, under the same or another name."""
    training = [pair.image for split in splits if split.loader == 'train' for pair in split.pairs or ()]
    for split in splits:
        if split.loader == 'train' or not split.pairs:
            continue
        folder, same = split.places.images, same_files(training, [pair.image for pair in split.pairs], probes)
        if same:
            shown = [
                osp.relpath(other, folder)
                + ('' if osp.basename(image) == osp.basename(other) else f' (in training: {image})')
                for image, other in same
            ]
            few = 100 * len(same) <= len(split.pairs)  # published datasets may have a few duplicates
            findings.add(
                'warning' if few else 'error',
                split.name,
                f'{counted(len(same), "image")} of {folder} {"is" if len(same) == 1 else "are"} also in the training '
                f'set, byte for byte: {examples(shown)}; do not evaluate on training images',
            )
