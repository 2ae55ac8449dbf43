"""Checks the number of images, the pairs of images and labels, and which images are in two splits."""

import os.path as osp
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .findings import Findings, counted, examples
from .listing import scan
from .probes import Probe, same_files
from .splits import Split

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

    @property
    def sentence(self) -> str:
        other = 'label' if self.kind == 'image' else 'image'
        return f'{counted(len(self.paths), self.kind)} without {other}'


def check_pairs(splits: Sequence[Split], published: Published, findings: Findings) -> None:
    """Reports wrong numbers of images, images without label and labels without image.

    Sets the label of a pair to '' if the file is missing.
    """
    used = {pair.label for split in splits for pair in split.pairs}
    unpaired: list[Unpaired] = []
    for split in splits:
        if split.pairs:
            unpaired += [_remove_missing_labels(split), _labels_without_image(split, used)]
    for loader in dict.fromkeys(split.loader for split in splits):
        parts, numbers = [split for split in splits if split.loader == loader], published.get(loader)
        if numbers is not None and all(split.listed is not None for split in parts):
            accepted = [numbers] if isinstance(numbers, int) else numbers
            explained = _report_count(parts, accepted, unpaired, findings)
            unpaired = [found for found in unpaired if found is not explained]
    for found in unpaired:
        if found.paths and found.kind == 'image':
            expected = f'expected {found.expected} for the first; copy or convert the labels again'
            findings.error(found.split.name, f'{found.sentence}: {found.names}, {expected}')
        elif found.paths:
            where = f'{found.sentence} in {found.split.places.images}'
            findings.warning(found.split.name, f'{where}: {found.names}; not used in training, check the copy')


def _remove_missing_labels(split: Split) -> Unpaired:
    """Images whose label is missing. Sets the label of their pairs to ''."""
    missing = {pair.image: pair.label for pair in split.pairs if pair.label and not osp.isfile(pair.label)}
    split.pairs = [replace(pair, label='') if pair.image in missing else pair for pair in split.pairs]
    return Unpaired(split, 'image', list(missing), next(iter(missing.values()), ''))


def _labels_without_image(split: Split, used: set[str]) -> Unpaired:
    """Labels that no image of `split` matches and that are not in `used`."""
    label_suffix, image_suffix = (getattr(split.dataset, key, '') for key in ('seg_map_suffix', 'img_suffix'))
    folder, without = split.places.labels, []
    if label_suffix and osp.isdir(folder):
        images = set(scan(split.places.images))
        labels = [path for path in scan(folder) if path.endswith(label_suffix)]
        without = [path for path in labels if path.removesuffix(label_suffix) + image_suffix not in images]
    return Unpaired(split, 'label', [path for path in (osp.join(folder, name) for name in without) if path not in used])


def _report_count(
    parts: Sequence[Split], accepted: Sequence[int], unpaired: Sequence[Unpaired], findings: Findings
) -> Unpaired | None:
    """Reports a number of images, of a loader with the splits `parts`, that is not `accepted`.

    Returns:
        The unpaired files that explain the difference, which the finding names.
    """
    loader, count = parts[0].loader, sum(split.listed or 0 for split in parts)
    if count in accepted:
        return None
    too_few = count < min(accepted)
    explanation = _explanation(loader, count, accepted, unpaired)
    cause = f'; {explanation.sentence}: {explanation.names}' if explanation else ''
    advice = 'complete the copy' if too_few else 'remove the extra images'
    findings.error(
        loader,
        f'{counted(count, "image")} in {examples([split.places.images for split in parts])}, expected '
        f'{" or ".join(map(str, accepted))} as published{cause}; {advice}, or accept this number with --cfg-options '
        f'num_images.{loader}={count}',
    )
    return explanation


def _explanation(loader: str, count: int, accepted: Sequence[int], unpaired: Sequence[Unpaired]) -> Unpaired | None:
    """The labels without image, if images are missing, or images without label, that are as many as the difference."""
    kind = 'label' if count < min(accepted) else 'image'
    difference = min(abs(count - number) for number in accepted)
    candidates = (found for found in unpaired if (found.split.loader, found.kind) == (loader, kind))
    return next((found for found in candidates if len(found.paths) == difference), None)


def check_shared_images(splits: Sequence[Split], probes: dict[str, Probe], findings: Findings) -> None:
    """Reports images of other splits that are also in the training set, under the same or another name."""
    training = [pair.image for split in splits if split.loader == 'train' for pair in split.pairs]
    for split in (split for split in splits if split.loader != 'train'):
        folder, same = split.places.images, same_files(training, [pair.image for pair in split.pairs], probes)
        if same:
            names = [osp.relpath(other, folder) for _, other in same]
            origins = [image if osp.basename(image) != osp.basename(other) else '' for image, other in same]
            shown = [name + (f' (in training: {origin})' if origin else '') for name, origin in zip(names, origins)]
            few = 100 * len(same) <= len(split.pairs)  # published datasets may have a few duplicates
            which = f'{counted(len(same), "image")} of {folder} {"is" if len(same) == 1 else "are"}'
            findings.add(
                'warning' if few else 'error',
                split.name,
                f'{which} also in the training set, byte for byte: {examples(shown)}; do not evaluate on these',
            )
