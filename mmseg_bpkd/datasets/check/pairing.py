"""Checks the number of images, the pairs of images and labels, and which images are in two splits."""

import os.path as osp
from dataclasses import replace
from typing import Dict, List, Sequence, Set, Union

from .files import Probe, same_files, scan
from .findings import Findings, counted, examples, relative_names
from .splits import Split

Published = Dict[str, Union[int, Sequence[int]]]  # {loader: number of images, or all numbers that are accepted}


def check_pairs(splits: Sequence[Split], published: Published, findings: Findings) -> None:
    """Reports wrong numbers of images, images without label and labels without image.

    Sets the label of a pair to None if the file is missing.

    Args:
        published: {loader: published number of images}. If it is a sequence, each of its numbers is accepted.
    """
    used = {pair.label for split in splits for pair in split.pairs or ()}
    unused = {split.name: _labels_without_image(split, used) for split in splits if split.pairs}
    expected = {pair.image: pair.label for split in splits for pair in split.pairs or ()}
    unlabelled = {split.name: _images_without_label(split) for split in splits if split.pairs}
    for loader in dict.fromkeys(split.loader for split in splits):
        parts = [split for split in splits if split.loader == loader]
        _check_count(loader, parts, published, unused, unlabelled, findings)
    for split in splits:
        if unlabelled.get(split.name):
            found = unlabelled[split.name]
            findings.error(
                split.name,
                f'{counted(len(found), "image")} without label: '
                f'{relative_names(found, split.places.images)}, expected {expected[found[0]]} for the first; '
                'copy or convert the labels again',
            )
        if unused.get(split.name):
            found = unused[split.name]
            findings.warning(
                split.name,
                f'{counted(len(found), "label")} without image in {split.places.images}: '
                f'{relative_names(found, split.places.labels)}; not used in training, check that the copy is complete',
            )


def _labels_without_image(split: Split, used: Set[str]) -> List[str]:
    """Labels that no image of `split` matches and that are not in `used`."""
    label_suffix, image_suffix = (getattr(split.dataset, key, '') for key in ('seg_map_suffix', 'img_suffix'))
    if not label_suffix or split.places.labels is None or not osp.isdir(split.places.labels):
        return []
    images = set(scan(split.places.images))
    without = [
        path
        for path in scan(split.places.labels)
        if path.endswith(label_suffix) and path.removesuffix(label_suffix) + image_suffix not in images
    ]
    without = [osp.join(split.places.labels, path) for path in without]
    return [path for path in without if path not in used]


def _images_without_label(split: Split) -> List[str]:
    """Images whose label is missing. Sets the label of their pairs to None."""
    found = [pair.image for pair in split.pairs if pair.label and not osp.isfile(pair.label)]
    if found:
        without = set(found)
        split.pairs = [replace(pair, label=None) if pair.image in without else pair for pair in split.pairs]
    return found


def _check_count(
    loader: str,
    parts: Sequence[Split],
    published: Published,
    unused: Dict[str, list],
    unlabelled: Dict[str, list],
    findings: Findings,
) -> None:
    """Compares the number of images of a loader with the published number.

    If the files in `unused` or `unlabelled` explain the difference, the same finding names them. They are then removed
    from there, so that they are not reported twice.
    """
    if published.get(loader) is None or any(split.pairs is None for split in parts):
        return
    accepted = published[loader]
    accepted = [accepted] if isinstance(accepted, int) else list(accepted)
    count = sum(split.listed for split in parts)
    if count in accepted:
        return
    kind, other, unpaired = ('label', 'image', unused) if count < min(accepted) else ('image', 'label', unlabelled)
    cause, difference = '', min(abs(count - number) for number in accepted)
    for split in parts:
        if len(unpaired.get(split.name, ())) == difference:
            folder = split.places.labels if kind == 'label' else split.places.images
            found = unpaired.pop(split.name)
            cause = f'; {counted(difference, kind)} without {other}: {relative_names(found, folder)}'
    advice = 'complete the copy' if count < min(accepted) else 'remove the extra images'
    findings.error(
        loader,
        f'{counted(count, "image")} in {examples([split.places.images for split in parts])}, expected '
        f'{" or ".join(map(str, accepted))} as published{cause}; {advice}, or accept this number with --cfg-options '
        f'num_images.{loader}={count}',
    )


def check_shared_images(splits: Sequence[Split], probes: Dict[str, Probe], findings: Findings) -> None:
    """Reports images of other splits that are also in the training set, under the same or another name."""
    training = [pair.image for split in splits if split.loader == 'train' for pair in split.pairs or ()]
    for split in splits:
        if split.loader != 'train' and split.pairs:
            same = same_files(training, [pair.image for pair in split.pairs], probes)
            if same:
                shown = [
                    osp.relpath(other, split.places.images)
                    if osp.basename(image) == osp.basename(other)
                    else f'{osp.relpath(other, split.places.images)} (in training: {image})'
                    for image, other in same
                ]
                few = 100 * len(same) <= len(split.pairs)  # published datasets may have a few duplicates
                (findings.warning if few else findings.error)(
                    split.name,
                    f'{counted(len(same), "image")} of {split.places.images} '
                    f'{"is" if len(same) == 1 else "are"} also in the training set, byte for byte: '
                    f'{examples(shown)}; do not evaluate on training images',
                )
