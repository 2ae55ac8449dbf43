"""Cross-image relational distillation (CIRKD, Yang et al., CVPR 2022, arXiv 2204.06986)."""

from typing import Dict

import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.registry import MODELS
from torch import Tensor, nn

from .base import DistillLoss
from .class_memory import ClassMemory, class_embeddings
from .distributed import gather_over_ranks
from .functional import class_maps, in_full_precision, masked_mean


@in_full_precision
def relation_kl(feats_S: Tensor, feats_T: Tensor, others_S: Tensor, others_T: Tensor, tau: float) -> Tensor:
    """KL(teacher || student) between softmax(cosines / tau) of each vector with all others.

    Args:
        feats_S, feats_T: (..., P, D_S) and (..., P, D_T), of length 1.
        others_S, others_T: (..., Q, D_S) and (..., Q, D_T), of length 1.

    Returns:
        (..., P).
    """
    log_S, log_T = (
        (feats @ others.transpose(-1, -2) / tau).log_softmax(-1)
        for feats, others in ((feats_S, others_S), (feats_T, others_T))
    )
    return F.kl_div(log_S, log_T, reduction='none', log_target=True).sum(-1)


def pooled(feats: Tensor, most_positions: int) -> Tensor:
    """Average-pooled by 1, 2, 4 ..., whatever leaves no more than most_positions."""
    kernel = 1
    while -(-feats.shape[2] // kernel) * -(-feats.shape[3] // kernel) > most_positions:
        kernel *= 2
    return F.avg_pool2d(feats, kernel, ceil_mode=True)


@in_full_precision
def unit_vectors(feats: Tensor) -> Tensor:
    """(N, D, h, w) to (N, P, D) of length 1."""
    return F.normalize(feats, dim=1).flatten(2).transpose(1, 2)


@MODELS.register_module()
class CrossImageLoss(DistillLoss):
    """Similarities of a position to those of the batch and to a memory of the teacher's features, by class.

    batch_weight * mean over all pairs of images, of all ranks, of `relation_kl` between their positions; void takes
    part. pixel_weight and region_weight * mean over non-void positions of `relation_kl` with vectors drawn from two
    memories of the teacher's features: of pixels, and of means of a class over an image. There the student's feature
    first goes through a trained projector (1x1, SyncBN, ReLU, 1x1) to the teacher's width. A step first adds the batch
    of all ranks to the memories.

    On the head's features. Differs from the authors' code: memories are empty at first, not noise, and what is empty is
    not drawn; pairs of images span all ranks; maps are pooled until they have max_positions, for the memory terms too,
    where the authors pool by 4 what is 256x256 or larger, for the pairs only.

    Args:
        pixel_memory, region_memory: vectors per class, held in half precision.
        pixel_contrast, region_contrast: vectors drawn in all, // classes + 1 of each class.
        pixels_per_class: added per image and class, drawn at random.
        max_positions: no matrix of a pair of images is larger than the square of this.
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
        self.projector = nn.Sequential(
            nn.Conv2d(feats_S, feats_T, 1, bias=False),
            nn.SyncBatchNorm(feats_T),
            nn.ReLU(inplace=True),
            nn.Conv2d(feats_T, feats_T, 1, bias=False),
        )
        self.memories = nn.ModuleDict(
            {name: ClassMemory(num_classes, self.memory_sizes[name], feats_T) for name in self.memory_weights}
        )
        megabytes = sum(memory.megabytes for memory in self.memories.values())
        print_log(
            f'CIRKD keeps vectors of {feats_T} of {num_classes} classes in half precision: {megabytes:.0f} MB on '
            'every device and in every checkpoint',
            'current',
        )

    def forward(self, feats_S: Tensor, feats_T: Tensor, gt: Tensor) -> Tensor:
        """The sum of `terms`, a scalar."""
        return sum(self.terms(feats_S, feats_T, gt).values())

    def terms(self, feats_S: Tensor, feats_T: Tensor, gt: Tensor) -> Dict[str, Tensor]:
        """Of 'batch', 'pixel' and 'region' those whose weight is not 0; adds to the memories.

        Args:
            feats_S, feats_T: (N, D, h, w).
            gt: labels, (N, H, W).
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
        """In half precision, the gradient of normalising what is almost 0 would be infinite."""
        return self.projector(feats_S)

    def _pairs(self, vectors_S: Tensor, vectors_T: Tensor) -> Tensor:
        """Image by image, against every image of every rank: (N, 1, P, D) with (1, M, P, D)."""
        all_S, all_T = gather_over_ranks(vectors_S), gather_over_ranks(vectors_T)
        return relation_kl(vectors_S[:, None], vectors_T[:, None], all_S, all_T, self.tau).mean()

    def _remember(self, feats_T: Tensor, gt: Tensor) -> None:
        pixels, regions = class_embeddings(feats_T, self._class_maps(gt, feats_T), self.pixels_per_class)
        for name, memory in self.memories.items():
            memory.add(*dict(pixel=pixels, region=regions)[name])

    def _class_maps(self, gt: Tensor, feats: Tensor) -> Tensor:
        return class_maps(gt, self.num_classes, feats.shape[2:], self.ignore_index)
