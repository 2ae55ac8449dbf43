"""Structured knowledge distillation (SKDS, Liu et al., CVPR 2019, arXiv 1903.04197): pair-wise and holistic."""

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor

from .base import DistillLoss
from .critic import Critic
from .functional import check_same_shape, in_full_precision, sum_of_terms, upcast

EPS = 1e-12  # lower bound of the norm of a feature, as in torch's normalize


@in_full_precision
def affinity(feats: Tensor, kernel: tuple, detach_norm: bool = False) -> Tensor:
    """Cosine similarities between all pairs of the P positions of a max-pooled map: (N, P, P).

    Args:
        detach_norm: whether the gradient treats the norms of the features as constants.
    """
    pooled = F.max_pool2d(feats, kernel, ceil_mode=True).flatten(2)
    norms = pooled.norm(dim=1, keepdim=True).clamp(min=EPS)
    units = pooled / (norms.detach() if detach_norm else norms)
    return units.transpose(1, 2) @ units


@MODELS.register_module()
class SKDSPairLoss(DistillLoss):
    """weight * mean (A_S - A_T)^2, where A is the `affinity` of the head's features.

    The features may have different widths. Void pixels are included. The defaults are those of CIRKD's
    reimplementation. The authors' own code has weight=0.5, kernel=0.5 and detach_norm=True.

    Args:
        kernel: size and stride of the pooling window: in cells, or as a share of the map if below 1.
        detach_norm: see `affinity`. The value is the same. The gradient is longer: it also changes the length of the
            features, which the value does not depend on.
    """

    any_width = True

    def __init__(self, weight: float = 10.0, kernel: int | float = 2, detach_norm: bool = False) -> None:
        super().__init__()
        self.weight = weight
        self.kernel = kernel
        self.detach_norm = detach_norm

    def forward(self, feats_S: Tensor, feats_T: Tensor) -> Tensor:
        extent = feats_T.shape[2:]
        window = tuple(max(1, int(self.kernel * x)) if self.kernel < 1 else min(int(self.kernel), x) for x in extent)
        affinity_S, affinity_T = (affinity(feats, window, self.detach_norm) for feats in (feats_S, feats_T.detach()))
        return self.weight * F.mse_loss(affinity_S, affinity_T)


class _ScaledReversal(torch.autograd.Function):
    """The identity, whose gradient is multiplied by -factor."""

    @staticmethod
    def forward(ctx, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return -ctx.factor * grad, None


@MODELS.register_module()
class SKDSCriticLoss(DistillLoss):
    """The holistic term of SKDS: a Wasserstein critic D scores logits, and the student learns to raise its score.

    The value is the critic's objective,
    `critic_weight * (mean D(S) - mean D(T) + gradient_penalty * mean (|dD/dx| - 1)^2)`, with x interpolated between S
    and T (WGAN-GP). Between student and critic the gradient is reversed and scaled, so that the student gets the
    gradient of `-student_weight * mean D(S)`. One backward pass therefore serves both, and both are updated in the same
    step.

    A map with a side of 80 or more has several scores. D is their mean, in the distance and in the penalty (WGAN-GP
    penalizes the slope of the function that it compares). The slope of D is therefore 1 whatever the size of the map.
    SKDS's code penalizes the slope of the sum of the scores, which differs only if there are several. There is one on
    the crops of SKDS and IFVD, 512x512 at stride 8.

    The defaults are those of IFVD and of CIRKD's reimplementation of SKDS and IFVD. SKDS's own code has
    student_weight=0.1 and trains the critic by SGD. Void pixels are included. Autocast is disabled in the loss, because
    the penalty needs second derivatives. Maps smaller than 64x64 are enlarged for the critic.

    Args:
        critic_lr: learning rate of the critic. The schedule of the student's applies to it.
        critic_optimizer: config of the critic's optimizer, without lr. None: the student's optimizer.

    Raises:
        ValueError: if critic_weight is not positive.
    """

    def __init__(
        self,
        student_weight: float = 0.001,
        critic_weight: float = 0.1,
        gradient_penalty: float = 10.0,
        critic_lr: float = 4e-4,
        critic_optimizer: dict | None = dict(type='Adam', betas=(0.9, 0.99)),
    ) -> None:
        super().__init__()
        if critic_weight <= 0:
            raise ValueError(f'critic_weight must be positive, got {critic_weight}: with 0 the critic would not learn')
        self.student_weight = student_weight
        self.critic_weight = critic_weight
        self.gradient_penalty = gradient_penalty
        self.optim_options = dict(critic=dict(lr=critic_lr, optimizer=critic_optimizer))

    def build_layers(self, num_classes: int) -> None:
        self.critic = Critic(num_classes)

    def forward(self, preds_S: Tensor, preds_T: Tensor) -> Tensor:
        """The sum of `terms`, a scalar."""
        return sum_of_terms(self.terms(preds_S, preds_T), preds_S)

    @torch.compiler.disable  # torch.compile has no second derivatives
    def terms(self, preds_S: Tensor, preds_T: Tensor) -> dict[str, Tensor]:
        """The weighted terms 'critic' and 'penalty', scalars.

        Args:
            preds_S, preds_T: logits, (N, C, h, w).
        """
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
