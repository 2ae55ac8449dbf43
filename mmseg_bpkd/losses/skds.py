"""Structured knowledge distillation (SKDS, Liu et al., CVPR 2019, arXiv 1903.04197): pair-wise and holistic."""

from typing import Dict, Union

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

from .base import DistillLoss
from .critic import Critic
from .functional import check_same_shape, in_full_precision, upcast


@in_full_precision
def affinity(feats: Tensor, kernel: tuple) -> Tensor:
    """Cosines between all pairs of positions of a max-pooled map, with P positions: (N, P, P)."""
    pooled = F.normalize(F.max_pool2d(feats, kernel, ceil_mode=True).flatten(2), dim=1)
    return pooled.transpose(1, 2) @ pooled


@MODELS.register_module()
class PairWiseLoss(DistillLoss):
    """weight * mean (A_S - A_T)^2, where A is the `affinity` of the head's features, of any two widths.

    Void takes part. The authors' code has kernel=0.5 and weight=0.5.

    Args:
        kernel: pooling window and stride in cells, or, if below 1, as a share of the map.
    """

    any_width = True

    def __init__(self, weight: float = 10.0, kernel: Union[int, float] = 2) -> None:
        super().__init__()
        self.weight = weight
        self.kernel = kernel

    def forward(self, feats_S: Tensor, feats_T: Tensor) -> Tensor:
        extent = feats_T.shape[2:]
        window = tuple(max(1, int(self.kernel * x)) if self.kernel < 1 else min(int(self.kernel), x) for x in extent)
        return self.weight * F.mse_loss(affinity(feats_S, window), affinity(feats_T.detach(), window))


class _ScaledReversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return -ctx.factor * grad, None


@MODELS.register_module()
class AdversarialLoss(DistillLoss):
    """A Wasserstein critic learns to tell the teacher's logits from the student's, which learns to please it.

    The value is what the critic minimises: critic_weight * (mean D(S) - mean D(T) + gradient_penalty * mean
    (|dD/dx| - 1)^2), with x between S and T. Between student and critic the gradient is reversed and scaled, so that
    the student gets that of -student_weight * mean D(S). One optimiser then serves both, one step each, at the same
    time.

    IFVD has student_weight=0.001 in its reimplementation by CIRKD. Void takes part. Runs in float32 under autocast, as
    the penalty needs second derivatives. Maps smaller than 64x64 are enlarged for the critic.

    Args:
        critic_lr: the critic's own learning rate.

    Raises:
        ValueError: for a critic_weight that is not positive.
    """

    def __init__(
        self,
        student_weight: float = 0.1,
        critic_weight: float = 0.1,
        gradient_penalty: float = 10.0,
        critic_lr: float = 4e-4,
    ) -> None:
        super().__init__()
        if critic_weight <= 0:
            raise ValueError(f'critic_weight must be positive, or the critic would learn nothing: got {critic_weight}')
        self.student_weight = student_weight
        self.critic_weight = critic_weight
        self.gradient_penalty = gradient_penalty
        self.optim_options = dict(critic=dict(lr=critic_lr))

    def build_layers(self, num_classes: int) -> None:
        self.critic = Critic(num_classes)

    def forward(self, preds_S: Tensor, preds_T: Tensor) -> Tensor:
        """The sum of `terms`, a scalar."""
        return sum(self.terms(preds_S, preds_T).values())

    @torch.compiler.disable  # second derivatives
    def terms(self, preds_S: Tensor, preds_T: Tensor) -> Dict[str, Tensor]:
        """'critic' and 'penalty', of logits (N, C, h, w) of both."""
        check_same_shape(preds_S, preds_T)
        fake, real = upcast(preds_S), upcast(preds_T.detach())
        with torch.autocast(fake.device.type, enabled=False):
            reversed_fake = _ScaledReversal.apply(fake, self.student_weight / self.critic_weight)
            distance = self.critic(reversed_fake).mean() - self.critic(real).mean()
            penalty = self._penalty(fake.detach(), real)
        return dict(critic=self.critic_weight * distance, penalty=self.critic_weight * self.gradient_penalty * penalty)

    def _penalty(self, fake: Tensor, real: Tensor) -> Tensor:
        share = torch.rand(len(real), 1, 1, 1, device=real.device, dtype=real.dtype)
        between = torch.lerp(fake, real, share).requires_grad_()
        scores = self.critic(between).flatten(1).mean(1)
        (slope,) = torch.autograd.grad(scores.sum(), between, create_graph=True)
        return ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
