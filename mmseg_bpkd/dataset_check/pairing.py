"""Counts against the published ones, images without label, labels without image, images that are in two splits."""

import os.path as osp
from dataclasses import replace
from typing import Dict, List, Sequence, Set, Union

from .files import Probe, same_files, scan
from .findings import Findings, examples, names, number
from .splits import Split

Published = Dict[str, Union[int, Sequence[int]]]  # by loader; several numbers where several are right


def check_pairs(splits: Sequence[Split], published: Published, findings: Findings) -> None:
    """Says what is unpaired, and takes the labels that are not there out of `split.pairs`."""
    used = {pair.label for split in splits for pair in split.pairs or ()}
    spare = {split.name: _labels_without_image(split, used) for split in splits if split.pairs}
    expected = {pair.image: pair.label for split in splits for pair in split.pairs or ()}
    bare = {split.name: _images_without_label(split) for split in splits if split.pairs}
    for loader in dict.fromkeys(split.loader for split in splits):
        _check_count(loader, [split for split in splits if split.loader == loader], published, spare, bare, findings)
    for split in splits:
        if bare.get(split.name):
            found = bare[split.name]
            findings.error(
                split.name,
                f'{number(len(found), "image")} without label: '
                f'{names(found, split.places.images)}, expected {expected[found[0]]} for the first; '
                'copy or convert the labels again',
            )
        if spare.get(split.name):
            found = spare[split.name]
            findings.warning(
                split.name,
                f'{number(len(found), "label")} without image in {split.places.images}: '
                f'{names(found, split.places.labels)}; not used in training, is the copy complete?',
            )


def _labels_without_image(split: Split, used: Set[str]) -> List[str]:
    suffix, ending = (getattr(split.dataset, key, '') for key in ('seg_map_suffix', 'img_suffix'))
    if not suffix or split.places.labels is None or not osp.isdir(split.places.labels):
        return []
    images = set(scan(split.places.images))
    spare = [
        path
        for path in scan(split.places.labels)
        if path.endswith(suffix) and path.removesuffix(suffix) + ending not in images
    ]
    spare = [osp.join(split.places.labels, path) for path in spare]
    return [path for path in spare if path not in used]


def _images_without_label(split: Split) -> List[str]:
    bare = [pair.image for pair in split.pairs if pair.label and not osp.isfile(pair.label)]
    if bare:
        without = set(bare)
        split.pairs = [replace(pair, label=None) if pair.image in without else pair for pair in split.pairs]
    return bare


def _check_count(
    loader: str,
    parts: Sequence[Split],
    published: Published,
    spare: Dict[str, list],
    bare: Dict[str, list],
    findings: Findings,
) -> None:
    """A count that unpaired files explain is one sentence with them: they are taken out of `spare` or `bare`."""
    if published.get(loader) is None or any(split.pairs is None for split in parts):
        return
    right = published[loader]
    right = [right] if isinstance(right, int) else list(right)
    count = sum(split.listed for split in parts)
    if count in right:
        return
    kind, unpaired = ('label', spare) if count < min(right) else ('image', bare)
    why, gap = '', min(abs(count - other) for other in right)
    for split in parts:
        if len(unpaired.get(split.name, ())) == gap:
            folder = split.places.labels if kind == 'label' else split.places.images
            other = 'image' if kind == 'label' else 'label'
            why = f'; {number(gap, kind)} without {other}: {names(unpaired.pop(split.name), folder)}'
    act = 'complete the copy' if count < min(right) else 'remove what does not belong there'
    findings.error(
        loader,
        f'{number(count, "image")} in {examples([split.places.images for split in parts])}, but '
        f'{" or ".join(map(str, right))} are published{why}; {act}; only if this is meant, state another '
        f'number: --cfg-options num_images.{loader}={count}',
    )


def check_shared_images(splits: Sequence[Split], probes: Dict[str, Probe], findings: Findings) -> None:
    """Images of the training set that are in another split too, under this or another name."""
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
                few = 100 * len(same) <= len(split.pairs)  # as published data sets may have, without it being the copy
                (findings.warning if few else findings.error)(
                    split.name,
                    f'{number(len(same), "image")} of {split.places.images} '
                    f'{"is" if len(same) == 1 else "are"} in the training set too, byte for byte: '
                    f'{examples(shown)}; what is trained on cannot be used to measure',
                )
