"""The entropy of early features, beside the accuracy near boundaries (Figure 1 of the BPKD paper)."""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from mmseg_bpkd.evaluation.evaluate import metrics_only
from mmseg_bpkd.evaluation.metrics import TrimapIoU
from mmseg_bpkd.grids.plots import style
from mmseg_bpkd.ops.boundary import boundary_band

from .drawing import picture_axes, show, size_of, to_rgb
from .networks import VOID, Network, TestImages, activation, resize

DEFINITION = (
    'Shannon entropy of the softmax over the channels of the activation at each position, divided by the logarithm of '
    'the number of channels: 0 if one channel is active alone, 1 if all channels are equal. "raw" is of the activation '
    'as it is, "scaled" of the activation divided by its root mean square over the image ("rms" is that over all '
    'images). The maps are resized to the label (bilinear) and averaged over the pixels of all images: "near" over '
    'those within half_width of a boundary of the label, "far" over the other labeled pixels'
)
AREAS = ('all', 'near', 'far')


def channel_entropy(x: Tensor) -> Tensor:
    """Entropy over the channels at each position: -sum_k p_k log p_k / log K, with p = softmax_k(x).

    The BPKD paper (arXiv 2306.08075, Figure 1) computes the "mean entropy from first-layer feature maps", without a
    formula. This is one reading. The division makes networks with different numbers of channels comparable. The entropy
    is lower for the same activation at a larger scale, see `unit_scale`.

    Args:
        x: activation, (N, K, H, W).

    Returns:
        (N, H, W), from 0 to 1.

    Raises:
        ValueError: if there is one channel only.

    >>> channel_entropy(torch.zeros(1, 4, 1, 1))  # all channels are equal
    tensor([[[1.]]])
    """
    if x.shape[1] < 2:
        raise ValueError('the entropy over the channels needs at least 2 channels, got 1')
    log_p = F.log_softmax(x.float(), dim=1)
    return -(log_p.exp() * log_p).sum(1) / math.log(x.shape[1])


def unit_scale(x: Tensor) -> Tensor:
    """Divides each activation, (N, K, H, W), by its root mean square. One that is zero everywhere stays zero.

    The scale of an activation means nothing where batch norm follows, but the entropy depends on it.
    """
    x = x.float()
    return x / x.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=torch.finfo(x.dtype).tiny)


@torch.no_grad()
def entropy_maps(network: Network, image: np.ndarray, layer: str) -> tuple[Tensor, float]:
    """Returns the entropy of a layer at the size of the image, and the mean square of its activation.

    Returns:
        (2, H, W) on the CPU, of the raw and of the scaled activation; and the mean square.
    """
    kept, _ = activation(network.model, network.predictor.preprocess(image), layer)
    maps = torch.cat([channel_entropy(kept), channel_entropy(unit_scale(kept))])
    return resize(maps, image.shape[:2]).cpu(), kept.double().square().mean().item()


def measure_entropy(
    networks: Sequence[Network], images: TestImages, indices: Sequence[int], layer: str, half_width: int = 3
) -> dict[str, dict]:
    """Measures the entropy of a layer and the accuracy near boundaries of networks, on the same images.

    Args:
        indices: of the images.
        half_width: half the width of the band around boundaries of the label, in pixels.

    Returns:
        {network: dict}: `raw` and `scaled`, each with the entropy of `all` pixels, `near` boundaries and `far` from
        them, from 0 to 1; `rms`, the root mean square of the activation; mIoU, mAcc and aAcc in the band, in percent.
    """
    sums = {network.name: np.zeros((2, len(AREAS))) for network in networks}
    squares = dict.fromkeys(sums, 0.0)
    pixels = np.zeros(len(AREAS))
    metrics = {network.name: TrimapIoU(half_width) for network in networks}
    for index in indices:
        image, label = images[index]
        gt = torch.from_numpy(label)
        near = boundary_band(gt[None], half_width)[0]
        areas = torch.ones_like(near), near, ~near & (gt != VOID)
        pixels += [area.sum().item() for area in areas]
        for network in networks:
            maps, square = entropy_maps(network, image, layer)
            sums[network.name] += [[map_[area].double().sum().item() for area in areas] for map_ in maps]
            squares[network.name] += square / len(indices)
            pred = torch.from_numpy(network.predictor(image).astype(np.int64))
            metric = metrics[network.name]
            metric.dataset_meta = dict(classes=network.classes)
            metric.process({}, [dict(pred_sem_seg=dict(data=pred[None]), gt_sem_seg=dict(data=gt[None]))])
    return {
        network.name: dict(
            _by_name(sums[network.name] / np.maximum(pixels, 1)),
            rms=math.sqrt(squares[network.name]),
            **metrics_only(metrics[network.name].evaluate(len(indices))),
        )
        for network in networks
    }


def _by_name(means: np.ndarray) -> dict[str, dict]:
    return {kind: dict(zip(AREAS, entropies.tolist())) for kind, entropies in zip(('raw', 'scaled'), means)}


def entropy_figure(
    networks: Sequence[Network],
    images: TestImages,
    indices: Sequence[int],
    shown: Sequence[int],
    layer: str,
    half_width: int = 3,
) -> tuple[Figure, dict]:
    """One point per network: the entropy of a layer near boundaries, and trimap mIoU. Below, maps of some images.

    The left panel has the activation as it is, the right panel and the maps have the activation at unit scale.

    Args:
        indices: of the images that are measured.
        shown: of the images whose maps are drawn.
        layer, half_width: see `activation` and `measure_entropy`.

    Returns:
        The figure, and its numbers.
    """
    measured = measure_entropy(networks, images, indices, layer, half_width)
    pictures = [images[index][0] for index in shown]
    drawn = [(image, [entropy_maps(network, image, layer)[0][1] for network in networks]) for image in pictures]
    width, height = size_of(pictures[0], len(shown), 1 + len(networks))
    figure = Figure(figsize=(max(8.0, width + 0.8), 3.8 + height), layout='constrained')
    (top,), (below,) = figure.subfigures(2, 1, squeeze=False, height_ratios=[3.8, height])
    _scatter(top, measured, half_width)
    top.suptitle(f'Entropy of {layer} and accuracy at boundaries, {len(indices)} images', fontsize=11)
    _maps(below, [network.name for network in networks], drawn)
    numbers = dict(
        figure='entropy',
        definition=DEFINITION,
        layer=layer,
        half_width_px=half_width,
        images=[images.name(index) for index in indices],
        maps=[images.name(index) for index in shown],
        networks=measured,
    )
    return figure, numbers


def _scatter(figure: Figure, measured: dict[str, dict], half_width: int) -> None:
    axes = figure.subplots(1, 2, sharey=True)
    titles = dict(raw='activation as it is', scaled='activation divided by its root mean square')
    for axis, (kind, text) in zip(axes, titles.items()):
        for place, (name, measures) in enumerate(measured.items()):
            look, x, y = style(place), measures[kind]['near'], measures[f'trimap/mIoU@{half_width}px']
            axis.plot(x, y, look['marker'], color=look['color'], markersize=8)
            axis.annotate(name, (x, y), xytext=(7, 4), textcoords='offset points', fontsize=9)
        axis.set_title(text, fontsize=10)
        axis.margins(0.18)
        axis.set_xlabel(
            f'mean entropy within {half_width} px of a boundary\n(0: one channel is active, 1: all are equal)'
        )
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(f'trimap mIoU ({half_width} px) in %')


def _maps(figure: Figure, names: list[str], drawn: Sequence[tuple[np.ndarray, list[Tensor]]]) -> None:
    axes = picture_axes(figure, len(drawn), ['image', *names])
    low = min(float(np.quantile(x, 0.02)) for _, maps in drawn for x in maps)  # else a few pixels take all the range
    for row, (image, maps) in zip(axes, drawn):
        show(row[0], to_rgb(image))
        for axis, x in zip(row[1:], maps):
            scale = show(axis, x.numpy(), cmap='cividis', vmin=low, vmax=1)
    figure.colorbar(scale, ax=axes, extend='min', aspect=40, pad=0.01, label='entropy at unit scale (0 to 1)')
