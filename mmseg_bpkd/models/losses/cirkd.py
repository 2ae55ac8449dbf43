"""Cross-image relational distillation (CIRKD, Yang et al., CVPR 2022, arXiv 2204.06986)."""

from typing import Any

import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.registry import MODELS
from torch import Tensor, nn

from .base import DistillLoss
from .class_memory import ClassMemory, class_embeddings
from .distributed import gather_over_ranks
from .functional import class_maps, in_full_precision, masked_mean, sum_of_terms


@in_full_precision
def relation_kl(feats_S: Tensor, feats_T: Tensor, others_S: Tensor, others_T: Tensor, tau: float) -> Tensor:
    """KL(teacher || student) between the softmaxes of the cosine similarities of each vector with Q others.

    Args:
        feats_S, feats_T: unit vectors, (..., P, D_S) and (..., P, D_T).
        others_S, others_T: unit vectors, (..., Q, D_S) and (..., Q, D_T).
        tau: temperature of the softmaxes.

    Returns:
        (..., P).
    """
    log_S, log_T = (
        (feats @ others.transpose(-1, -2) / tau).log_softmax(-1)
        for feats, others in ((feats_S, others_S), (feats_T, others_T))
    )
    return F.kl_div(log_S, log_T, reduction='none', log_target=True).sum(-1)


def pooled(feats: Tensor, max_positions: int) -> Tensor:
    """Average-pools (N, D, h, w) by the smallest power of two that leaves at most `max_positions` positions."""
    kernel = 1
    while -(-feats.shape[2] // kernel) * -(-feats.shape[3] // kernel) > max_positions:
        kernel *= 2
    return F.avg_pool2d(feats, kernel, ceil_mode=True)


@in_full_precision
def unit_vectors(feats: Tensor) -> Tensor:
    """Features (N, D, h, w) to unit vectors (N, h * w, D)."""
    return F.normalize(feats, dim=1).flatten(2).transpose(1, 2)


@MODELS.register_module()
class CIRKDLoss(DistillLoss):
    """Distils the similarities between positions of different images, on the head's features.

    * 'batch': batch_weight * mean of `relation_kl` between the positions of every pair of images, over all processes.
      Void pixels are included.
    * 'pixel' and 'region': pixel_weight and region_weight * mean over non-void positions of `relation_kl` with vectors
      drawn from two memories of the teacher's features. One memory holds features of pixels, the other means of a class
      over an image. A trained projector (1x1 convolution, SyncBN, ReLU, 1x1 convolution) maps the student's features to
      the teacher's width. The batch of all processes is added to the memories before they are used.

    Differences from the authors' code (winycg/CIRKD, `train_cirkd.py`, commit 2d8ad0f):

    * The memories start empty, and only written entries are drawn. The authors fill them with noise first.
    * Pairs of images span all processes.
    * Maps are pooled until they have at most `max_positions` positions, for all terms. The authors pool by 2, for the
      'batch' term and SegFormer only.

    Args:
        tau: temperature of the similarities.
        pixel_memory, region_memory: vectors per class, stored in half precision.
        pixel_contrast, region_contrast: number of vectors to draw. Each class contributes at most number // num_classes
            + 1.
        pixels_per_class: pixels that each image adds per class, drawn at random.
        max_positions: limits the similarity matrix of a pair of images to max_positions^2.
    """

    any_width = True

    def __init__(
        self,
        batch_weight: float = 1.0,
        pixel_weight: float = 0.1,
        region_weight: float = 0.1,
        tau: float = 0.1,
        pixel_memory: int = 20000,
        region_memory: int = 2000,
        pixel_contrast: int = 4096,
        region_contrast: int = 1024,
        pixels_per_class: int = 16,
        max_positions: int = 1024,
        ignore_index: int = 255,
    ) -> None:
        super().__init__()
        self.batch_weight = batch_weight
        self.memory_weights = {
            name: weight for name, weight in dict(pixel=pixel_weight, region=region_weight).items() if weight
        }
        self.tau = tau
        self.memory_sizes = dict(pixel=pixel_memory, region=region_memory)
        self.contrast_sizes = dict(pixel=pixel_contrast, region=region_contrast)
        self.pixels_per_class = pixels_per_class
        self.max_positions = max_positions
        self.ignore_index = ignore_index

    def build_layers(self, feats_S: int, feats_T: int, num_classes: int) -> None:
        self.num_classes = num_classes
        if self.memory_weights:  # otherwise it would get no gradient, which DDP does not accept
            self.projector = nn.Sequential(
                nn.Conv2d(feats_S, feats_T, 1, bias=False),
                nn.SyncBatchNorm(feats_T),
                nn.ReLU(inplace=True),
                nn.Conv2d(feats_T, feats_T, 1, bias=False),
            )
        memories = {name: ClassMemory(num_classes, self.memory_sizes[name], feats_T) for name in self.memory_weights}
        self.memories: Any = nn.ModuleDict(memories)  # Any: to mypy, the values are plain modules
        mebibytes = sum(memory.mebibytes for memory in memories.values())
        print_log(
            f'the memories of CIRKD ({num_classes} classes, width {feats_T}) take {mebibytes:.0f} MiB on every device '
            'and in every checkpoint',
            'current',
        )

    def forward(self, feats_S: Tensor, feats_T: Tensor, gt: Tensor) -> Tensor:
        """The sum of `terms`, a scalar."""
        return sum_of_terms(self.terms(feats_S, feats_T, gt), feats_S)

    def terms(self, feats_S: Tensor, feats_T: Tensor, gt: Tensor) -> dict[str, Tensor]:
        """Adds the batch to the memories. Returns the terms 'batch', 'pixel' and 'region', without those of weight 0.

        Args:
            feats_S, feats_T: (N, D, h, w).
            gt: label, (N, H, W).
        """
        self._remember(feats_T.detach(), gt)
        feats_S, feats_T = (pooled(feats, self.max_positions) for feats in (feats_S, feats_T.detach()))
        terms, vectors_T = {}, unit_vectors(feats_T)
        if self.batch_weight:
            terms['batch'] = self.batch_weight * self._pairs(unit_vectors(feats_S), vectors_T)
        if self.memories:
            projected_S, valid = unit_vectors(self._projected(feats_S)), self._class_maps(gt, feats_T).any(1)
        for name, memory in self.memories.items():
            drawn = memory.draw(self.contrast_sizes[name] // self.num_classes + 1).to(vectors_T)
            divergence = relation_kl(projected_S, vectors_T, drawn, drawn, self.tau)
            terms[name] = self.memory_weights[name] * masked_mean(divergence, valid)
        return terms

    @in_full_precision
    def _projected(self, feats_S: Tensor) -> Tensor:
        """In float32: in half precision, the gradient of normalizing a vector close to 0 overflows."""
        return self.projector(feats_S)

    def _pairs(self, vectors_S: Tensor, vectors_T: Tensor) -> Tensor:
        """Mean `relation_kl` between each of the N local images and all images of all processes. Vectors: (N, P, D)."""
        all_S, all_T = gather_over_ranks(vectors_S), gather_over_ranks(vectors_T)
        return relation_kl(vectors_S[:, None], vectors_T[:, None], all_S, all_T, self.tau).mean()

    def _remember(self, feats_T: Tensor, gt: Tensor) -> None:
        pixels, regions = class_embeddings(feats_T, self._class_maps(gt, feats_T), self.pixels_per_class)
        for name, memory in self.memories.items():
            memory.add(*dict(pixel=pixels, region=regions)[name])

    def _class_maps(self, gt: Tensor, feats: Tensor) -> Tensor:
        return class_maps(gt, self.num_classes, feats.shape[2:], self.ignore_index)
