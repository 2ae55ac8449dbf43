"""HiResCAM: which positions of a layer raise the logit of a class (Figure 4 of the BPKD paper)."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from mmengine.model import BaseModel
from torch import Tensor

from .drawing import picture_axes, show, size_of, to_rgb
from .networks import Network, TestImages, activation, resize

DEFINITION = (
    'HiResCAM: ReLU of the sum over the channels of activation times gradient. The gradient is that of the mean logit '
    'of the class over the pixels with this class in the label. Each map is drawn relative to its own maximum; '
    '"inside" is the share of its sum that lies on pixels of the class; null if the map is zero everywhere'
)
OUTLINE = '#56B4E9'  # the light blue of Okabe and Ito, which stands out from the colors of the map


def hires_cam(model: BaseModel, inputs: Tensor, layer: str, cls: int, pixels: Tensor) -> Tensor:
    """HiResCAM (Draelos and Carin, arXiv 2011.08891): relu(sum_k A_k * dS / dA_k).

    A is the activation of the layer. S is the mean logit of the class over some pixels, as in Seg-Grad-CAM
    (Vinogradova et al., arXiv 2002.11434), which sums it.

    Args:
        model: in eval mode.
        inputs: preprocessed image, (1, 3, h, w).
        layer: see `activation`.
        cls: the class.
        pixels: the pixels of S, (H, W) bool. If their size is not that of `inputs`, they are resized (nearest).

    Returns:
        (i, j), the size of the activation.

    Raises:
        ValueError: if there is no such layer, or no gradient reaches it.
    """
    # Not pytorch-grad-cam, which has HiResCAM, but needs torchvision and scikit-learn for these few lines.
    with torch.enable_grad():
        kept, logits = activation(model, inputs, layer)
        if logits.shape[1] == 1:  # sigmoid
            logits = torch.cat([-logits, logits], 1)
        mask = F.interpolate(pixels[None, None].float(), logits.shape[2:], mode='nearest')[0, 0].to(logits)
        score = (logits[0, cls] * mask).sum() / mask.sum().clamp(min=1)
        if not kept.requires_grad:
            raise ValueError(f'no gradient reaches layer {layer!r}: choose another layer')
        (gradient,) = torch.autograd.grad(score, kept, allow_unused=True)
    if gradient is None:
        raise ValueError(f'no gradient of the logits reaches layer {layer!r}: choose another layer')
    return (kept * gradient).sum(1)[0].relu().detach()


def share_inside(cam: np.ndarray, inside: np.ndarray) -> float | None:
    """The share of a map, (H, W), that lies on the pixels `inside`, (H, W) bool. None if the map is zero everywhere."""
    total = float(cam.sum(dtype=np.float64))
    return float(cam[inside].sum(dtype=np.float64)) / total if total else None


def class_index(name: str, classes: Sequence[str]) -> int:
    """Returns the index of a class.

    Raises:
        ValueError: if there is no such class.
    """
    if name not in classes:
        raise ValueError(f'no class {name!r}: the classes are {", ".join(classes)}')
    return list(classes).index(name)


def cam_figure(
    networks: Sequence[Network], images: TestImages, indices: Sequence[int], layer: str, class_name: str
) -> tuple[Figure, dict]:
    """A row per image: the image with the outline of the class, and the HiResCAM of each network over it.

    Args:
        indices: of the images.
        layer: see `activation`.
        class_name: the class.

    Returns:
        The figure, and its numbers: the maximum of each map, and the share of its sum inside the class.

    Raises:
        ValueError: if there is no such class or layer, or if an image has no pixel of the class.
    """
    cls = class_index(class_name, networks[0].classes)
    width, height = size_of(images[indices[0]][0], len(indices), 1 + len(networks), captions=0.25)
    figure = Figure(figsize=(width + 0.8, height + 0.3), layout='constrained')
    axes = picture_axes(figure, len(indices), ['image and label', *(network.name for network in networks)])
    numbers: dict[str, dict] = {}
    for row, index in zip(axes, indices):
        image, label = images[index]
        inside = label == cls
        if not inside.any():
            raise ValueError(f'image {images.name(index)} has no pixel of {class_name}: choose another image')
        show(row[0], to_rgb(image))
        row[0].set_xlabel(images.name(index), fontsize=9)
        image_cams = numbers[images.name(index)] = {}
        for axis, network in zip(row[1:], networks):
            inputs = network.predictor.preprocess(image)
            small = hires_cam(network.model, inputs, layer, cls, torch.from_numpy(inside))
            cam = resize(small[None], image.shape[:2])[0].cpu().numpy()
            largest, share = float(cam.max()), share_inside(cam, inside)
            image_cams[network.name] = dict(maximum=largest, inside=share)
            scale = show(axis, cam / (largest or 1), cmap='inferno', vmin=0, vmax=1)
            axis.set_xlabel('all zero' if share is None else f'{100 * share:.0f} % inside', fontsize=9)
        for axis in row:
            axis.contour(inside, [0.5], colors=OUTLINE, linewidths=1 if axis is row[0] else 0.5)
    figure.colorbar(scale, ax=axes, aspect=40, pad=0.01, label='HiResCAM relative to its maximum')
    figure.suptitle(f'HiResCAM of "{class_name}" at {layer}; outline: the label', fontsize=11)
    return figure, dict(figure='cam', definition=DEFINITION, layer=layer, **{'class': class_name}, images=numbers)
