"""Boundary-privileged knowledge distillation (BPKD, Liu et al., WACV 2024, arXiv 2306.08075)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

from mmseg_bpkd.ops.boundary import edge_masks

from .base import DistillLoss
from .distributed import sum_over_ranks
from .functional import channel_kl, check_same_shape, edge_weights, pixel_kl, standardize_logits, sum_of_terms, upcast

CHOICES = dict(
    edge_norm=('class', 'paper', 'mean', 'edge'),
    pre_mask=('suppress', 'multiply', False),
    edge_over=('classes', 'positions'),
    body_over=('positions', 'classes'),
    body_mask=('multiply', 'binary', 'remove', 'binary_remove'),
    edges=('label', 'teacher', 'random'),
)
INVERSE_SQRT_AREA = 'inverse_sqrt_area'
REMOVED = -1e30  # a logit whose softmax is 0; finite, to avoid inf - inf


@MODELS.register_module()
class BPKDLoss(DistillLoss):
    """Distils the edges and the bodies of objects with two different losses.

    With logits Z and edge masks M (see `edge_masks`):

    * edge_weight * pixel-wise KL divergence of the pre-masked logits, weighted by `edge_weights`;
    * body_weight * channel-wise KL divergence of Z * (1 - M), mean over images and classes.

    With void_edges=False, void pixels are in no edge mask. They then belong to the body, because the teacher needs no
    label there. docs/methods.md says which words of the paper each option reads, and what it changes.

    Args:
        edge_weight, body_weight: 0 skips the term.
        class_weight: the paper's alpha, the weight of the edges of a class. A number, a list with one number per class,
            or 'inverse_sqrt_area': 1 / sqrt(area of the edges of the class in the training so far), scaled to a mean of
            1 over the classes seen. This rule is ours: the paper raises hard classes, and does not name them.
        kernel_size: side k of the window of `edge_masks` in pixels of the label. An edge is k - 1 pixels wide. Seven
            iterations with a 3x3 window are kernel_size=15.
        tau_edge, tau_body: temperatures.
        void_edges: whether a boundary between a class and void is an edge.
        edge_norm: 'class', 'paper', 'mean' or 'edge'; see `edge_weights`.
        pre_mask: the paper's PRM, before the softmax of the edge term. 'suppress': only the classes with M > 0 in a
            cell are in its softmax (the paper's words). 'multiply': logits are multiplied by M (its formula). False:
            all classes, as they are.
        post_mask: weight the divergence by the masks (the paper's POM, Table 4). False: all M above 0 count as 1.
        edge_over, body_over: dimension of the softmax (Table 3): 'classes' or 'positions'. `post_mask` and `edge_norm`
            have an effect only with edge_over='classes'.
        body_mask: 'multiply': the body term multiplies the logits by 1 - M. Cells on an edge then have the logit 0.
            'remove': its softmax over the positions gives each cell the weight 1 - M. Cells on an edge then have the
            probability 0. 'binary' and 'binary_remove': the same with all M above 0 set to 1.
        edges: where M comes from. 'label'; 'teacher': the teacher's prediction, so that labels are not read; 'random':
            the cells of the label's masks in random order, which is a control for experiments.
        standardize: standardizes the logits of the edge term over the classes of each pixel (LSKD; see
            `standardize_logits`). The pre-mask follows. In the other order, the standardization would cancel a mask
            that all classes of a cell share. The body term keeps the plain logits.

    Raises:
        ValueError: for an option that does not exist, options that exclude each other, or a class_weight of a wrong
            length.
    """

    class_weight: Tensor
    edge_area: Tensor

    def __init__(
        self,
        edge_weight: float = 5.0,
        body_weight: float = 5.0,
        class_weight: float | Sequence[float] | str = 1.0,
        kernel_size: int = 7,
        tau_edge: float = 1.0,
        tau_body: float = 1.0,
        ignore_index: int = 255,
        void_edges: bool = False,
        edge_norm: str = 'class',
        pre_mask: str | bool = 'multiply',
        post_mask: bool = True,
        edge_over: str = 'classes',
        body_over: str = 'positions',
        body_mask: str = 'multiply',
        edges: str = 'label',
        standardize: bool = False,
    ) -> None:
        super().__init__()
        given = locals()
        for name, choices in CHOICES.items():
            if given[name] not in choices:
                raise ValueError(f'{name} must be one of {choices}, got {given[name]!r}')
        if isinstance(class_weight, str) and class_weight != INVERSE_SQRT_AREA:
            raise ValueError(f'class_weight must be numbers or {INVERSE_SQRT_AREA!r}, got {class_weight!r}')
        if edge_over == 'positions' and not pre_mask:
            raise ValueError("edge_over='positions' needs a pre_mask: without it, no mask would be applied")
        if edge_over == 'positions' and standardize:
            raise ValueError("standardize=True needs edge_over='classes': it standardizes over the classes")
        if body_mask.endswith('remove') and body_over != 'positions':
            raise ValueError(f"body_mask={body_mask!r} needs body_over='positions': it removes positions")
        if edges == 'teacher' and void_edges:
            raise ValueError("edges='teacher' needs void_edges=False: predictions have no void")
        self.edge_weight = edge_weight
        self.body_weight = body_weight
        self.weights_by_area = class_weight == INVERSE_SQRT_AREA
        weights = 1.0 if self.weights_by_area else class_weight
        self.register_buffer('class_weight', torch.tensor(weights), persistent=False)
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
        self.edges = edges
        self.standardize = standardize

    def build_layers(self, num_classes: int) -> None:
        """With class_weight='inverse_sqrt_area', adds the buffer that sums the edge areas. It is in checkpoints."""
        if self.weights_by_area:
            self.register_buffer('edge_area', torch.zeros(num_classes, dtype=torch.float64))

    def forward(self, preds_S: Tensor, preds_T: Tensor, gt: Tensor) -> Tensor:
        """The sum of `terms`, a scalar."""
        return sum_of_terms(self.terms(preds_S, preds_T, gt), preds_S)

    def terms(self, preds_S: Tensor, preds_T: Tensor, gt: Tensor) -> dict[str, Tensor]:
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
        masks = self._masks(preds_T, gt)
        terms = {}
        if self.edge_weight:
            terms['edge'] = self.edge_weight * self._edge(preds_S, preds_T, masks)
        if self.body_weight:
            terms['body'] = self.body_weight * self._body(preds_S, preds_T, masks)
        return terms

    def _masks(self, preds_T: Tensor, gt: Tensor) -> Tensor:
        if self.edges == 'teacher':
            gt = F.interpolate(preds_T, gt.shape[1:], mode='bilinear', align_corners=False).argmax(1)
        _, num_classes, height, width = preds_T.shape
        size = height, width
        masks = edge_masks(gt, num_classes, size, self.kernel_size, self.ignore_index, self.void_edges).to(preds_T)
        if self.edges == 'random':
            order = torch.rand(len(masks), 1, height * width, device=masks.device).argsort(2)
            masks = masks.flatten(2).gather(2, order.expand(-1, num_classes, -1)).view_as(masks)
        return masks

    def _class_weight(self, masks: Tensor) -> Tensor:
        if not self.weights_by_area:
            return self.class_weight.to(masks)
        if self.training:
            self.edge_area += sum_over_ranks(masks.sum((0, 2, 3)).double())
        seen = self.edge_area > 0
        weights = self.edge_area.rsqrt().masked_fill(~seen, 0)
        return torch.where(seen, weights * seen.sum() / weights.sum(), 1).to(masks)

    def _edge(self, preds_S: Tensor, preds_T: Tensor, masks: Tensor) -> Tensor:
        class_weight = self._class_weight(masks)
        if self.standardize:
            preds_S, preds_T = standardize_logits(preds_S), standardize_logits(preds_T)
        if self.pre_mask == 'suppress':
            preds_S, preds_T = (preds.masked_fill(masks == 0, REMOVED) for preds in (preds_S, preds_T))
        multiplied = masks if self.pre_mask == 'multiply' else None
        if self.edge_over == 'positions':
            return (class_weight * channel_kl(preds_S, preds_T, self.tau_edge, multiplied)).mean()
        divergence = pixel_kl(preds_S, preds_T, self.tau_edge, multiplied)
        return (divergence * edge_weights(masks, class_weight, self.edge_norm, self.post_mask)).sum()

    def _body(self, preds_S: Tensor, preds_T: Tensor, masks: Tensor) -> Tensor:
        body = 1 - ((masks > 0).to(masks) if self.body_mask.startswith('binary') else masks)
        if self.body_mask.endswith('remove'):
            # A softmax weighted by w is the softmax of z + log(w).
            shift = self.tau_body * body.log().clamp(min=REMOVED)
            divergence = channel_kl(preds_S + shift, preds_T + shift, self.tau_body)
            return (divergence * (body.amax((2, 3)) > 0)).mean()
        body_kl = channel_kl if self.body_over == 'positions' else pixel_kl
        return body_kl(preds_S, preds_T, self.tau_body, body).mean()
