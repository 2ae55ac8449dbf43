"""Boundary-privileged knowledge distillation (BPKD, Liu et al., WACV 2024, arXiv 2306.08075)."""

from typing import Dict, Sequence, Union

import torch
from mmengine.registry import MODELS
from torch import Tensor

from ..boundary import edge_masks
from .base import DistillLoss
from .functional import channel_kl, check_same_shape, edge_weights, pixel_kl, standardize_logits, upcast


@MODELS.register_module()
class BPKDLoss(DistillLoss):
    """Distils the edges and the bodies of objects with two different losses.

    With logits Z and edge masks M (see `edge_masks`):

    * edge_weight * pixel-wise KL divergence of Z * M, weighted by `edge_weights`;
    * body_weight * channel-wise KL divergence of Z * (1 - M), mean over images and classes.

    With void_edges=False, void pixels are in no edge mask. They then belong to the body, because the teacher needs no
    label there. `reference.py` has a direct implementation of the formulas.

    The default weights are for `edge_norm='class'`. A search on CamVid chose them: "The search" in docs/results.md. The
    paper has edge_weight=50, body_weight=20 and class_weight=2. It does not say how it normalises the loss;
    edge_norm='paper' reads its equation 3 literally.

    Args:
        edge_weight, body_weight: 0 skips the term.
        class_weight: the paper's alpha, the weight of the edges of a class. A number, or a list with one number per
            class.
        kernel_size: side k of the window of `edge_masks` in pixels of the label. An edge is k - 1 pixels wide.
        tau_edge, tau_body: temperatures.
        void_edges: whether a boundary between a class and void is an edge.
        edge_norm: 'class' or 'paper'; see `edge_weights`.
        pre_mask: multiply the logits of the edge term by the masks before the softmax (the paper's PRM, Table 4).
        post_mask: weight the divergence by the masks (the paper's POM, Table 4).
        edge_over, body_over: dimension of the softmax (Table 3): 'classes' or 'positions'. `post_mask`, `class_weight`
            and `edge_norm` have an effect only with edge_over='classes'.
        body_mask: 'multiply': the body term multiplies the logits by 1 - M. Cells on an edge then have the logit 0.
            'remove': its softmax over the positions gives each cell the weight 1 - M. Cells on an edge then have the
            probability 0. This is not in the paper.
        standardize: standardises the logits of the edge term over the classes of each pixel (LSKD; see
            `standardize_logits`). The pre-mask multiplies the standardised logits, so that cells far from an edge still
            contribute little. In the other order, the standardisation would cancel a mask that all classes of a cell
            share. The body term keeps the plain logits.

    Raises:
        ValueError: for an option that does not exist, or if class_weight has a wrong length.
    """

    def __init__(
        self,
        edge_weight: float = 5.0,
        body_weight: float = 5.0,
        class_weight: Union[float, Sequence[float]] = 1.0,
        kernel_size: int = 7,
        tau_edge: float = 1.0,
        tau_body: float = 1.0,
        ignore_index: int = 255,
        void_edges: bool = False,
        edge_norm: str = 'class',
        pre_mask: bool = True,
        post_mask: bool = True,
        edge_over: str = 'classes',
        body_over: str = 'positions',
        body_mask: str = 'multiply',
        standardize: bool = False,
    ) -> None:
        super().__init__()
        for name, value, choices in (
            ('edge_norm', edge_norm, ('class', 'paper')),
            ('edge_over', edge_over, ('classes', 'positions')),
            ('body_over', body_over, ('classes', 'positions')),
            ('body_mask', body_mask, ('multiply', 'remove')),
        ):
            if value not in choices:
                raise ValueError(f'{name} must be one of {choices}, got {value!r}')
        if edge_over == 'positions' and not pre_mask:
            raise ValueError("edge_over='positions' needs pre_mask=True: without it, no mask would be applied")
        if edge_over == 'positions' and standardize:
            raise ValueError("standardize=True needs edge_over='classes': it standardises over the classes")
        if body_mask == 'remove' and body_over != 'positions':
            raise ValueError("body_mask='remove' needs body_over='positions': it removes positions from the softmax")
        self.edge_weight = edge_weight
        self.body_weight = body_weight
        self.register_buffer('class_weight', torch.tensor(class_weight), persistent=False)
        self.kernel_size = kernel_size
        self.tau_edge = tau_edge
        self.tau_body = tau_body
        self.ignore_index = ignore_index
        self.void_edges = void_edges
        self.edge_norm = edge_norm
        self.pre_mask = pre_mask
        self.post_mask = post_mask
        self.edge_over = edge_over
        self.body_over = body_over
        self.body_mask = body_mask
        self.standardize = standardize

    def forward(self, preds_S: Tensor, preds_T: Tensor, gt: Tensor) -> Tensor:
        """The sum of `terms`, a scalar."""
        terms = self.terms(preds_S, preds_T, gt)
        return sum(terms.values()) if terms else 0 * upcast(preds_S).sum()

    def terms(self, preds_S: Tensor, preds_T: Tensor, gt: Tensor) -> Dict[str, Tensor]:
        """The weighted terms 'edge' and 'body'. A term with weight 0 is left out.

        Args:
            preds_S, preds_T: logits, (N, C, h, w).
            gt: label, (N, H, W).

        Raises:
            ValueError: if the shapes of the logits differ, class_weight does not have one value per class, or
                `standardize` is set and there are two classes.
        """
        if not self.edge_weight and not self.body_weight:
            return {}
        check_same_shape(preds_S, preds_T)
        num_classes = preds_S.shape[1]
        if self.class_weight.ndim and len(self.class_weight) != num_classes:
            raise ValueError(f'class_weight has {len(self.class_weight)} values for {num_classes} classes')
        preds_S, preds_T = upcast(preds_S), upcast(preds_T.detach())
        masks = edge_masks(gt, num_classes, preds_S.shape[2:], self.kernel_size, self.ignore_index, self.void_edges).to(
            preds_S
        )
        terms = {}
        if self.edge_weight:
            terms['edge'] = self.edge_weight * self._edge(preds_S, preds_T, masks)
        if self.body_weight:
            terms['body'] = self.body_weight * self._body(preds_S, preds_T, 1 - masks)
        return terms

    def _edge(self, preds_S: Tensor, preds_T: Tensor, masks: Tensor) -> Tensor:
        if self.edge_over == 'positions':
            return channel_kl(preds_S, preds_T, self.tau_edge, masks).mean()
        if self.standardize:
            preds_S, preds_T = standardize_logits(preds_S), standardize_logits(preds_T)
        divergence = pixel_kl(preds_S, preds_T, self.tau_edge, masks if self.pre_mask else None)
        return (divergence * edge_weights(masks, self.class_weight.to(masks), self.edge_norm, self.post_mask)).sum()

    def _body(self, preds_S: Tensor, preds_T: Tensor, body: Tensor) -> Tensor:
        if self.body_mask == 'remove':
            # A softmax weighted by w is the softmax of z + log(w). A finite log(0) avoids inf - inf.
            shift = self.tau_body * body.log().clamp(min=-1e4)
            divergence = channel_kl(preds_S + shift, preds_T + shift, self.tau_body)
            return (divergence * (body.amax((2, 3)) > 0)).mean()
        divergence = channel_kl if self.body_over == 'positions' else pixel_kl
        return divergence(preds_S, preds_T, self.tau_body, body).mean()
