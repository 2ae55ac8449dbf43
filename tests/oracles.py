"""Slow, plain definitions in NumPy loops, to hold the package against. Imports nothing from it."""
from math import exp, log

import numpy as np

VOID = 255


def grid(text: str) -> np.ndarray:
    """A label map drawn with one character a pixel; '.' is void."""
    return np.array([[VOID if cell == '.' else int(cell) for cell in row.split()] for row in text.strip().splitlines()])


def window(label: np.ndarray, y: int, x: int, radius: int) -> list:
    """The labels in the square around a pixel, as far as the image reaches."""
    return label[max(0, y - radius):y + radius + 1, max(0, x - radius):x + radius + 1].ravel().tolist()


def class_edges(label: np.ndarray, num_classes: int, kernel_size: int, void_edges: bool, void: int) -> np.ndarray:
    """E_c = dilate(G_c) - erode(G_c): (C, H, W) of 0 and 1."""
    edges = np.zeros((num_classes, *label.shape))
    for (y, x), own in np.ndenumerate(label):
        around = window(label, y, x, kernel_size // 2)
        if not void_edges:
            if own == void:
                continue
            around = [v for v in around if v != void]
        for c in range(num_classes):
            dilated = c in around
            eroded = all(v == c for v in around)
            edges[c, y, x] = dilated and not eroded
    return edges


def adaptive_mean(x: np.ndarray, size: tuple) -> np.ndarray:
    """Mean over the cells [floor(i H / h), ceil((i + 1) H / h)) of (..., H, W)."""
    (height, width), (h, w) = x.shape[-2:], size
    out = np.zeros((*x.shape[:-2], h, w))
    for i in range(h):
        for j in range(w):
            cell = x[..., i * height // h:-(-(i + 1) * height // h), j * width // w:-(-(j + 1) * width // w)]
            out[..., i, j] = cell.mean((-2, -1))
    return out


def edge_masks(labels, num_classes: int, size: tuple, kernel_size: int = 7, void_edges=False, void=VOID) -> np.ndarray:
    return np.stack([adaptive_mean(class_edges(label, num_classes, kernel_size, void_edges, void), size)
                     for label in labels])


def boundary_band(label: np.ndarray, half_width: int) -> np.ndarray:
    band = np.zeros(label.shape, bool)
    for (y, x), own in np.ndenumerate(label):
        around = [v for v in window(label, y, x, half_width) if v != VOID]
        band[y, x] = own != VOID and any(v != own for v in around)
    return band


def kl(student: list, teacher: list, tau: float) -> float:
    """tau^2 KL(softmax(teacher / tau) || softmax(student / tau)) of two lists of logits."""
    def softmax(logits):
        powers = [exp(z / tau) for z in logits]
        return [p / sum(powers) for p in powers]

    p, q = softmax(teacher), softmax(student)
    return tau**2 * sum(pi * log(pi / qi) for pi, qi in zip(p, q))


def pixel_wise(preds_S: np.ndarray, preds_T: np.ndarray, tau: float) -> float:
    n, _, h, w = preds_S.shape
    return np.mean([kl(preds_S[i, :, y, x], preds_T[i, :, y, x], tau)
                    for i in range(n) for y in range(h) for x in range(w)])


def channel_wise(preds_S: np.ndarray, preds_T: np.ndarray, tau: float) -> float:
    return np.mean([kl(s.ravel(), t.ravel(), tau)
                    for image_S, image_T in zip(preds_S, preds_T) for s, t in zip(image_S, image_T)])


def bpkd_edge(preds_S, preds_T, masks, alpha, tau=1.0, norm='class', pre_mask=True, post_mask=True) -> float:
    n, num_classes, h, w = preds_S.shape
    per_image = []
    for i in range(n):
        phi = np.zeros((h, w))
        for y in range(h):
            for x in range(w):
                m = masks[i, :, y, x] if pre_mask else np.ones(num_classes)
                phi[y, x] = kl(preds_S[i, :, y, x] * m, preds_T[i, :, y, x] * m, tau)
        if not post_mask:
            cells = [phi[y, x] for y in range(h) for x in range(w) if any(masks[i, :, y, x] > 0)]
            per_image.append(np.mean(cells) if cells else 0)
            continue
        terms = []
        for c in range(num_classes):
            area = sum(masks[i, c].ravel() > 0)
            if area:
                terms.append(alpha[c] * sum((phi * masks[i, c]).ravel()) / area)
        if norm == 'class':
            per_image.append(np.mean(terms) if terms else 0)
        else:
            per_image.append(sum(terms) / (h * w))
    return np.mean(per_image)


def iou(intersection: np.ndarray, union: np.ndarray) -> list:
    """Percent per class; nan where the union is empty."""
    return [100 * a / b if b else float('nan') for a, b in zip(intersection, union)]


def trimap_iou(preds: list, labels: list, num_classes: int, half_width: int) -> list:
    intersection, union = np.zeros(num_classes), np.zeros(num_classes)
    for pred, label in zip(preds, labels):
        band = boundary_band(label, half_width)
        for c in range(num_classes):
            intersection[c] += ((pred == c) & (label == c) & band).sum()
            union[c] += (((pred == c) | (label == c)) & band).sum()
    return iou(intersection, union)


def eroded(mask: np.ndarray, dont_care: np.ndarray, times: int) -> np.ndarray:
    """`times` erosions with a 3x3 square; outside the image counts as background, `dont_care` as foreground."""
    kept = np.pad(mask | dont_care, 1)
    for _ in range(times):
        kept = np.array([[kept[max(0, y - 1):y + 2, max(0, x - 1):x + 2].all() for x in range(kept.shape[1])]
                         for y in range(kept.shape[0])])
        kept[[0, -1]] = False
        kept[:, [0, -1]] = False
    return kept[1:-1, 1:-1] & mask


def boundary_iou(preds: list, labels: list, num_classes: int, distance: int) -> list:
    """Cheng et al. 2021, mask by mask."""
    intersection, union = np.zeros(num_classes), np.zeros(num_classes)
    for pred, label in zip(preds, labels):
        void = label == VOID
        for c in range(num_classes):
            bands = []
            for mask in ((pred == c) & ~void, (label == c) & ~void):
                bands.append(mask & ~eroded(mask, void, distance))
            intersection[c] += (bands[0] & bands[1]).sum()
            union[c] += (bands[0] | bands[1]).sum()
    return iou(intersection, union)
