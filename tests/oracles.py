"""Slow definitions in NumPy loops, which the tests compare the package with. This file imports nothing from it."""

import itertools
from math import exp, log

import numpy as np

VOID = 255


def grid(text: str) -> np.ndarray:
    """Parses a label map with one character per pixel; '.' is void."""
    return np.array([[VOID if cell == '.' else int(cell) for cell in row.split()] for row in text.strip().splitlines()])


def window(label: np.ndarray, y: int, x: int, extent: int) -> list:
    """The labels in the square around a pixel, cropped to the image. An even square extends further up and left."""
    before, after = extent // 2, extent - extent // 2
    return label[max(0, y - before) : y + after, max(0, x - before) : x + after].ravel().tolist()


def class_edges(label: np.ndarray, num_classes: int, kernel_size: int, void_edges: bool, void: int) -> np.ndarray:
    """E_c = dilate(G_c) - erode(G_c): (C, H, W) of 0 and 1."""
    edges = np.zeros((num_classes, *label.shape))
    for (y, x), own in np.ndenumerate(label):
        around = window(label, y, x, kernel_size)
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
            cell = x[..., i * height // h : -(-(i + 1) * height // h), j * width // w : -(-(j + 1) * width // w)]
            out[..., i, j] = cell.mean((-2, -1))
    return out


def edge_masks(labels, num_classes: int, size: tuple, kernel_size: int = 7, void_edges=False, void=VOID) -> np.ndarray:
    return np.stack(
        [adaptive_mean(class_edges(label, num_classes, kernel_size, void_edges, void), size) for label in labels]
    )


def boundary_band(label: np.ndarray, half_width: int) -> np.ndarray:
    band = np.zeros(label.shape, bool)
    for (y, x), own in np.ndenumerate(label):
        around = [v for v in window(label, y, x, 2 * half_width + 1) if v != VOID]
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
    return np.mean(
        [kl(preds_S[i, :, y, x], preds_T[i, :, y, x], tau) for i in range(n) for y in range(h) for x in range(w)]
    )


def channel_wise(preds_S: np.ndarray, preds_T: np.ndarray, tau: float) -> float:
    return np.mean(
        [kl(s.ravel(), t.ravel(), tau) for image_S, image_T in zip(preds_S, preds_T) for s, t in zip(image_S, image_T)]
    )


def channel_wise_of_some(preds_S: np.ndarray, preds_T: np.ndarray, weights: np.ndarray, tau: float) -> float:
    """CWD whose softmax over the positions weights each position. Those with the weight 0 are left out."""

    def softmax(z, w):
        e = w * np.exp(z / tau)
        return e / e.sum()

    terms = []
    for i in range(len(preds_S)):
        for c in range(preds_S.shape[1]):
            kept = weights[i, c] > 0
            if not kept.any():
                terms.append(0)
                continue
            q, p = (softmax(preds[i, c][kept], weights[i, c][kept]) for preds in (preds_S, preds_T))
            terms.append(tau**2 * (p * np.log(p / q)).sum())
    return np.mean(terms)


def bpkd_edge(preds_S, preds_T, masks, alpha, tau=1.0, norm='class', pre_mask='multiply', post_mask=True) -> float:
    n, num_classes, h, w = preds_S.shape
    per_image = []
    for i in range(n):
        phi = np.zeros((h, w))
        for y in range(h):
            for x in range(w):
                student, teacher, m = preds_S[i, :, y, x], preds_T[i, :, y, x], masks[i, :, y, x]
                if pre_mask == 'suppress':
                    kept = [c for c in range(num_classes) if m[c] > 0]
                    student, teacher = [student[c] for c in kept], [teacher[c] for c in kept]
                elif pre_mask == 'multiply':
                    student, teacher = student * m, teacher * m
                phi[y, x] = kl(student, teacher, tau)
        sums, areas, weights = [], [], 0
        for c in range(num_classes):
            weight = masks[i, c] if post_mask else np.where(masks[i, c] > 0, 1, 0)
            sums.append(alpha[c] * sum((phi * weight).ravel()))
            areas.append(sum(masks[i, c].ravel() > 0))
            weights += weight.sum()
        with_edge = [c for c in range(num_classes) if areas[c]]
        if norm == 'class':
            per_image.append(np.mean([sums[c] / areas[c] for c in with_edge]) if with_edge else 0)
        elif norm == 'paper':
            per_image.append(sum(sums[c] / areas[c] for c in with_edge) / (h * w))
        elif norm == 'mean':
            per_image.append(sum(sums) / (num_classes * h * w))
        else:
            per_image.append(sum(sums) / weights if with_edge else 0)
    return np.mean(per_image)


def iou(intersection: np.ndarray, union: np.ndarray) -> list:
    """Per class, in percent; nan if the union is empty."""
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
    """`times` erosions with a 3x3 square. Outside the image is background, and `dont_care` is foreground."""
    kept = np.pad(mask | dont_care, 1)
    for _ in range(times):
        kept = np.array(
            [
                [kept[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].all() for x in range(kept.shape[1])]
                for y in range(kept.shape[0])
            ]
        )
        kept[[0, -1]] = False
        kept[:, [0, -1]] = False
    return kept[1:-1, 1:-1] & mask


def boundary_iou(preds: list, labels: list, num_classes: int, distance: int) -> list:
    """Cheng et al. 2021, computed for each mask separately."""
    intersection, union = np.zeros(num_classes), np.zeros(num_classes)
    for pred, label in zip(preds, labels):
        void = label == VOID
        for c in range(num_classes):
            masks = (pred == c) & ~void, (label == c) & ~void
            bands = [mask & ~eroded(mask, void, distance) for mask in masks]
            intersection[c] += (bands[0] & bands[1]).sum()
            union[c] += (bands[0] | bands[1]).sum()
    return iou(intersection, union)


def entropy(logits: list, tau: float) -> float:
    powers = [exp(z / tau) for z in logits]
    probs = [p / sum(powers) for p in powers]
    return -(tau**2) * sum(p * log(p) for p in probs)


def mean_square(a: np.ndarray, b: np.ndarray) -> float:
    return sum((x - y) ** 2 for x, y in zip(a.ravel(), b.ravel())) / a.size


def softmax_over_classes(preds: np.ndarray) -> np.ndarray:
    """(C, H, W) logits to probabilities."""
    powers = np.exp(preds)
    return powers / powers.sum(0)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return (a @ b) / ((a @ a) * (b @ b)) ** 0.5


def attention(feats: np.ndarray) -> list:
    """(D, h, w) features of one image to a vector over its positions with an L2 norm of 1."""
    d, h, w = feats.shape
    energy = [sum(feats[k, y, x] ** 2 for k in range(d)) / d for y in range(h) for x in range(w)]
    return [e / sum(e**2 for e in energy) ** 0.5 for e in energy]


def inconsistency(preds: np.ndarray) -> np.ndarray:
    """(C, h, w) logits of one image to the mean distance of each pixel's probabilities to those of its neighbors."""
    probs = softmax_over_classes(preds)
    _, h, w = probs.shape
    out = np.zeros((h, w))
    for y in range(h):
        for x in range(w):
            around = [
                (j, i)
                for j in (y - 1, y, y + 1)
                for i in (x - 1, x, x + 1)
                if (j, i) != (y, x) and 0 <= j < h and 0 <= i < w
            ]
            out[y, x] = np.mean([sum((probs[:, y, x] - probs[:, j, i]) ** 2) ** 0.5 for j, i in around])
    return out


def max_pooled(feats: np.ndarray, kh: int, kw: int) -> np.ndarray:
    """Max-pools (D, h, w). If the window does not divide the map, the last cells are smaller."""
    _, h, w = feats.shape
    return np.stack(
        [
            np.stack([feats[:, y : y + kh, x : x + kw].max((1, 2)) for x in range(0, w, kw)], -1)
            for y in range(0, h, kh)
        ],
        -2,
    )


def affinity(feats: np.ndarray, kh: int, kw: int) -> np.ndarray:
    vectors = max_pooled(feats, kh, kw).reshape(len(feats), -1).T
    return np.array([[cosine(a, b) for b in vectors] for a in vectors])


def affinity_gradient(feats_S: np.ndarray, feats_T: np.ndarray, kh: int, kw: int, detach_norm: bool) -> np.ndarray:
    """Gradient of mean (A_S - A_T)^2 with respect to the student's features (D, h, w) of one image."""
    gradient = np.zeros_like(feats_S)
    vectors = max_pooled(feats_S, kh, kw).reshape(len(feats_S), -1).T
    lengths = [(v @ v) ** 0.5 for v in vectors]
    units = [v / length for v, length in zip(vectors, lengths)]
    error = affinity(feats_S, kh, kw) - affinity(feats_T, kh, kw)
    for p, (vector, unit, length) in enumerate(zip(vectors, units, lengths)):
        slope = sum(4 * error[p, q] * other for q, other in enumerate(units)) / len(units) ** 2
        if not detach_norm:
            slope = slope - (slope @ unit) * unit  # a longer feature has the same cosines
        for channel, value in enumerate(vector):  # to the cell that is the maximum of the window
            gradient[channel][feats_S[channel] == value] += slope[channel] / length
    return gradient


def nearest(label: np.ndarray, h: int, w: int) -> np.ndarray:
    height, width = label.shape
    return np.array([[label[y * height // h, x * width // w] for x in range(w)] for y in range(h)])


def intra_class(feats_S: np.ndarray, feats_T: np.ndarray, labels: np.ndarray) -> float:
    squares = []
    for image_S, image_T, label in zip(feats_S, feats_T, labels):
        label = nearest(label, *image_S.shape[1:])
        for (y, x), c in np.ndenumerate(label):
            if c != VOID:
                similarity = [cosine(image[:, y, x], image[:, label == c].mean(1)) for image in (image_S, image_T)]
                squares.append((similarity[0] - similarity[1]) ** 2)
    return np.mean(squares)


def correlation(a: np.ndarray, b: np.ndarray, eps: float = 1e-8) -> float:
    a, b = a - a.mean(), b - b.mean()
    return (a @ b) / ((a @ a) ** 0.5 * (b @ b) ** 0.5 + eps)


def pearson(preds_S: np.ndarray, preds_T: np.ndarray, tau: float) -> tuple:
    """(inter, intra): 1 - mean Pearson correlation over the classes of a pixel, and over the pixels of a class."""
    positions = list(itertools.product(range(preds_S.shape[2]), range(preds_S.shape[3])))
    rows = [
        np.array([softmax_over_classes(image / tau)[:, y, x] for image in preds for y, x in positions])
        for preds in (preds_S, preds_T)
    ]
    inter = np.mean([1 - correlation(a, b) for a, b in zip(*rows)])
    intra = np.mean([1 - correlation(a, b) for a, b in zip(rows[0].T, rows[1].T)])
    return inter, intra


def dist(preds_S: np.ndarray, preds_T: np.ndarray, aux_preds_S: np.ndarray, aux_preds_T: np.ndarray) -> float:
    """DIST's recipe: the logits of the auxiliary heads weigh 0.4."""
    return sum(pearson(preds_S, preds_T, 1)) + 0.4 * sum(pearson(aux_preds_S, aux_preds_T, 1))


def convolved(x: np.ndarray, weight: np.ndarray, bias=None, stride: int = 1, padding: int = 0) -> np.ndarray:
    """Convolves one image (I, H, W) with a weight (O, I, k, k)."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    k = weight.shape[2]
    h, w = ((extent - k) // stride + 1 for extent in x.shape[1:])
    out = np.zeros((len(weight), h, w))
    for i in range(h):
        for j in range(w):
            cell = x[:, i * stride : i * stride + k, j * stride : j * stride + k]
            out[:, i, j] = weight.reshape(len(weight), -1) @ cell.ravel()
    return out if bias is None else out + bias[:, None, None]


def adapted(x: np.ndarray, weights: list) -> np.ndarray:
    """Two convolutions with a ReLU between them. `weights` is [weight, bias, weight, bias]."""
    padding = weights[0].shape[2] // 2
    hidden = np.maximum(convolved(x, weights[0], weights[1], padding=padding), 0)
    return convolved(hidden, weights[2], weights[3], padding=padding)


def adaptive_perspective(feats_S, feats_T, labels, num_classes: int, scale: float = 10.0) -> tuple:
    """The terms (map, center, teacher) of APD for adapted features."""
    labels = [nearest(label, *feats_S.shape[2:]) for label in labels]
    present = [c for c in range(num_classes) if any((label == c).any() for label in labels)]
    centers, views = [], []
    for feats in (feats_S, feats_T):
        feats = [image / np.sqrt((image**2).sum(0)) for image in feats]
        means = [
            np.mean([image[:, y, x] for image, label in zip(feats, labels) for y, x in np.argwhere(label == c)], 0)
            for c in present
        ]
        centers.append(means)
        views.append(
            [
                [[scale * cosine(image[:, y, x], mean) for mean in means] for y, x in np.ndindex(label.shape)]
                for image, label in zip(feats, labels)
            ]
        )
    per_pixel = [kl(s, t, 1) for image_S, image_T in zip(*views) for s, t in zip(image_S, image_T)]
    apart = [(1 - cosine(a, b)) / 2 for a, b in zip(*centers)]
    entropies = []
    for image, label in zip(views[1], labels):
        for view, c in zip(image, label.ravel()):
            if c != VOID:
                entropies.append(log(sum(exp(v) for v in view)) - view[present.index(c)])
    return np.mean(per_pixel) / len(present), np.mean(apart), np.mean(entropies)


def dense_contrast(feats_S, feats_T, groups: int, patch: int, tau: float) -> float:
    n, width, h, w = feats_S.shape
    per_group, total, count = width // groups, 0.0, 0
    for i in range(n):
        for top in range(0, h - patch + 1, patch):
            for left in range(0, w - patch + 1, patch):
                places = [
                    (y, x, g) for y in range(top, top + patch) for x in range(left, left + patch) for g in range(groups)
                ]
                vectors_S, vectors_T = (
                    [feats[i, g * per_group : (g + 1) * per_group, y, x] for y, x, g in places]
                    for feats in (feats_S, feats_T)
                )
                for a, (place, vector) in enumerate(zip(places, vectors_S)):
                    likeness = [-abs(vector - other).sum() / tau for other in vectors_T]
                    rivals = [likeness[b] for b, other in enumerate(places) if other[2] != place[2] or b == a]
                    total += log(sum(exp(r) for r in rivals)) - likeness[a]
                count += patch * patch
    return total / count


def unit_vectors(feats: np.ndarray) -> np.ndarray:
    """(D, h, w) to L2-normalized (positions, D)."""
    vectors = feats.reshape(len(feats), -1).T
    return vectors / np.sqrt((vectors**2).sum(1, keepdims=True))


def relation_kl(vectors_S, vectors_T, others_S, others_T, tau: float) -> list:
    return [
        kl([s @ o for o in others_S], [t @ o for o in others_T], tau) / tau**2 for s, t in zip(vectors_S, vectors_T)
    ]


def class_memories(feats: np.ndarray, labels: np.ndarray, num_classes: int) -> tuple:
    """Per class, the L2-normalized vectors of all its pixels, in order, and its normalized mean of each image."""
    pixels, means = ([[] for _ in range(num_classes)] for _ in range(2))
    for image, label in zip(feats, labels):
        vectors, label = unit_vectors(image), nearest(label, *image.shape[1:]).ravel()
        for c in range(num_classes):
            members = [vector for vector, own in zip(vectors, label) if own == c]
            pixels[c] += members
            if members:
                mean = np.mean(members, 0)
                means[c].append(mean / (mean @ mean) ** 0.5)
    return pixels, means


def resized(x: np.ndarray, h: int, w: int) -> np.ndarray:
    """Bilinear interpolation of (C, H, W) with `align_corners=False`."""

    def weights(old, new):
        matrix = np.zeros((new, old))
        for i in range(new):
            at = max(0, (i + 0.5) * old / new - 0.5)
            low = min(int(at), old - 1)
            high = min(low + 1, old - 1)
            matrix[i, low] += 1 - (at - low)
            matrix[i, high] += at - low
        return matrix

    return np.einsum('ih,chw,jw->cij', weights(x.shape[1], h), x, weights(x.shape[2], w))


def critic(preds: np.ndarray, parts: dict) -> float:
    """Mean score of the logits (C, h, w) of one image: the discriminator of SKDS after a layer norm.

    Args:
        parts: the parameters. norm=(weight, bias), down=[(weight, bias)] * 4 without spectral norm,
            attention=[(query, key, value, gamma)] * 2, where query, key and value are (weight, bias), and
            last=(weight, bias).
    """
    x = resized(preds, 64, 64)
    x = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
    x = parts['norm'][0][:, None, None] * x + parts['norm'][1][:, None, None]
    attentions = iter(parts['attention'])
    for i, (weight, bias) in enumerate(parts['down']):
        weight = weight / np.linalg.norm(weight.reshape(len(weight), -1), 2)  # the largest singular value
        x = convolved(x, weight, bias, stride=2, padding=1)
        x = np.where(x > 0, x, 0.1 * x)
        if i >= 2:
            *layers, gamma = next(attentions)
            query, key, value = (convolved(x, *layer).reshape(len(layer[0]), -1) for layer in layers)
            mixed = np.zeros_like(value)
            for p in range(query.shape[1]):
                share = np.exp(query[:, p] @ key)
                mixed[:, p] = value @ (share / share.sum())
            x = x + gamma * mixed.reshape(x.shape)
    return convolved(x, *parts['last']).mean()


def numerical_gradient(function, x: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Central differences of a function of an array."""
    gradient = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        values = []
        for sign in (1, -1):
            moved = x.copy()
            moved[place] += sign * step
            values.append(function(moved))
        gradient[place] = (values[0] - values[1]) / (2 * step)
    return gradient


def standardized(preds: np.ndarray) -> np.ndarray:
    """z-score over the classes of each pixel of (N, C, H, W), with an unbiased standard deviation."""
    out = np.zeros_like(preds)
    n, num_classes, h, w = preds.shape
    for i in range(n):
        for y in range(h):
            for x in range(w):
                logits = preds[i, :, y, x].tolist()
                mean = sum(logits) / num_classes
                std = (sum((z - mean) ** 2 for z in logits) / (num_classes - 1)) ** 0.5
                out[i, :, y, x] = [(z - mean) / (std + 1e-7) for z in logits]
    return out


def normalized_features(feats_S: np.ndarray, feats_T: np.ndarray) -> float:
    """NFD: mean square between features whose channels have mean 0 and variance 1 over the positions of an image."""
    squares = []
    for image_S, image_T in zip(feats_S, feats_T):
        for channel_S, channel_T in zip(image_S, image_T):
            pair = []
            for channel in (channel_S, channel_T):
                values = channel.ravel().tolist()
                mean = sum(values) / len(values)
                variance = sum((v - mean) ** 2 for v in values) / len(values)
                pair.append([(v - mean) / (variance + 1e-5) ** 0.5 for v in values])
            squares += [(s - t) ** 2 for s, t in zip(*pair)]
    return sum(squares) / len(squares)


def inter_class(preds_S: np.ndarray, preds_T: np.ndarray, tau: float, normalize: bool) -> float:
    """AICSD: mean square between the matrices of KL(p_i || p_j), where p_i is the softmax of class i over positions."""
    squares = []
    for images in zip(preds_S, preds_T):
        pair = []
        for preds in images:
            maps = [image.ravel() for image in preds]
            rows = [[kl(other, own, tau) / tau**2 for other in maps] for own in maps]
            if normalize:
                rows = [[v / sum(u**2 for u in row) ** 0.5 for v in row] for row in rows]
            pair.append(rows)
        squares += [(s - t) ** 2 for row_S, row_T in zip(*pair) for s, t in zip(row_S, row_T)]
    return sum(squares) / len(squares)


def unit_l1(feats_S: np.ndarray, feats_T: np.ndarray) -> float:
    """Mean over channels of the L1 distance between channels of length 1."""
    distances = []
    for image_S, image_T in zip(feats_S, feats_T):
        for s, t in zip(image_S, image_T):
            s, t = (channel.ravel() / (channel**2).sum() ** 0.5 for channel in (s, t))
            distances.append(sum(abs(a - b) for a, b in zip(s, t)))
    return sum(distances) / len(distances)


def unit_huber(feats_S: np.ndarray, feats_T: np.ndarray, delta: float) -> float:
    """Sum of the Huber distance between positions of length 1, divided by images and channels."""
    total = 0
    for image_S, image_T in zip(feats_S, feats_T):
        for s, t in zip(unit_vectors(image_S), unit_vectors(image_T)):
            for d in abs(s - t):
                total += d**2 / 2 if d <= delta else delta * (d - delta / 2)
    return total / (len(feats_S) * feats_S.shape[1])


def haar_details(image: np.ndarray, levels: int) -> list:
    """The details of each level of one channel (H, W): [[(horizontal, vertical, diagonal) of each cell], ...]."""
    out = []
    for _ in range(levels):
        if image.size == 1:
            break
        h, w = image.shape
        details, low = [], np.zeros(((h + 1) // 2, (w + 1) // 2))
        for i, j in np.ndindex(low.shape):
            cell = {
                (y, x): image[2 * i + y, 2 * j + x] if 2 * i + y < h and 2 * j + x < w else 0
                for y in (0, 1)
                for x in (0, 1)
            }
            low[i, j] = sum(cell.values()) / 2
            details.append(
                tuple(
                    sum(v * (-1) ** (y * along_y + x * along_x) for (y, x), v in cell.items()) / 2
                    for along_y, along_x in ((1, 0), (0, 1), (1, 1))
                )
            )
        out.append(details)
        image = low
    return out


def wavelet_detail(feats_S: np.ndarray, feats_T: np.ndarray, levels: int) -> float:
    per_level = {}
    for image_S, image_T in zip(feats_S, feats_T):
        for channel_S, channel_T in zip(image_S, image_T):
            pairs = zip(haar_details(channel_S, levels), haar_details(channel_T, levels))
            for level, (details_S, details_T) in enumerate(pairs):
                for s, t in zip(details_S, details_T):
                    per_level.setdefault(level, []).extend(abs(a - b) for a, b in zip(s, t))
    return sum(np.mean(distances) for distances in per_level.values())


def sigmoid(z: float) -> float:
    return 1 / (1 + exp(-z))


def bernoulli_kl(student: float, teacher: float, tau: float) -> float:
    """tau^2 KL between two coins, of the log-odds of their heads."""
    p, q = sigmoid(teacher / tau), sigmoid(student / tau)
    return tau**2 * (p * log(p / q) + (1 - p) * log((1 - p) / (1 - q)))


def binary_inconsistency(z: np.ndarray) -> np.ndarray:
    """(h, w) log-odds to the mean distance of (p, 1 - p) to those of the neighbors, sqrt(2) |p - p'|."""
    out = np.zeros(z.shape)
    for y, x in np.ndindex(z.shape):
        around = z[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].ravel().tolist()
        distances = [2**0.5 * abs(sigmoid(z[y, x]) - sigmoid(other)) for other in around]
        out[y, x] = sum(distances) / (len(around) - 1)  # the pixel itself has distance 0
    return out


def mask_classifier(class_scores: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Class scores of a mask classifier: (N, Q, C + 1) and (N, Q, h, w) to (N, C, h, w)."""
    images, queries, height, width = masks.shape
    scores = np.zeros((images, class_scores.shape[2] - 1, height, width))
    for n in range(images):
        for q in range(queries):
            total = sum(exp(s) for s in class_scores[n, q])
            for c in range(scores.shape[1]):
                for y in range(height):
                    for x in range(width):
                        inside = 1 / (1 + exp(-masks[n, q, y, x]))
                        scores[n, c, y, x] += exp(class_scores[n, q, c]) / total * inside
    return scores
