"""The holistic term of SKDS (Liu et al., CVPR 2019, arXiv 1903.04197), which IFVD shares: a critic of logits."""

from typing import Dict, Optional

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from .functional import check_same_shape, full

LEAST_EXTENT = 64  # what the critic's five convolutions need


class SelfAttention(nn.Module):
    """Attention over all positions, added with a weight that starts at 0 (SAGAN, arXiv 1805.08318)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels // 8, 1)
        self.key = nn.Conv2d(channels, channels // 8, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (part(x).flatten(2) for part in (self.query, self.key, self.value))
        attention = (query.transpose(1, 2) @ key).softmax(-1)
        return x + self.gamma * (value @ attention.transpose(1, 2)).view_as(x)


class Critic(nn.Sequential):
    """(N, C, h, w) logits to (N, 1, ...) scores: the self-attention discriminator of SKDS.

    Differs from it in the layer norm in front, where SKDS has a batch norm: WGAN-GP asks for a norm that does not
    couple images (arXiv 1704.00028, section 4).
    """

    def __init__(self, num_classes: int, width: int = 64) -> None:
        def down(i: int, o: int) -> nn.Sequential:
            return nn.Sequential(spectral_norm(nn.Conv2d(i, o, 4, stride=2, padding=1)), nn.LeakyReLU(0.1))

        super().__init__(
            nn.GroupNorm(1, num_classes),
            down(num_classes, width),
            down(width, 2 * width),
            down(2 * width, 4 * width),
            SelfAttention(4 * width),
            down(4 * width, 8 * width),
            SelfAttention(8 * width),
            nn.Conv2d(8 * width, 1, 4),
        )

    def forward(self, preds: Tensor) -> Tensor:
        size = [max(LEAST_EXTENT, extent) for extent in preds.shape[2:]]
        return super().forward(F.interpolate(preds, size, mode='bilinear'))


class _ScaledReversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return -ctx.factor * grad, None


@MODELS.register_module()
class AdversarialLoss(nn.Module):
    """A Wasserstein critic learns to tell the teacher's logits from the student's, which learns to please it.

    The value is what the critic minimises: critic_weight * (mean D(S) - mean D(T) + gradient_penalty * mean
    (|dD/dx| - 1)^2), with x between S and T. Between student and critic the gradient is reversed and scaled, so that
    the student gets that of -student_weight * mean D(S). One optimiser then serves both, one step each, at the same
    time.

    IFVD has student_weight=0.001 in its reimplementation by CIRKD. Void takes part. Runs in float32 under autocast, as
    the penalty needs second derivatives. Maps smaller than 64x64 are enlarged for the critic.

    Args:
        critic_lr: the critic's own learning rate.
        widths: dict(num_classes=...); a `SegDistiller` fills it in.

    Raises:
        ValueError: for a critic_weight that is not positive.
    """

    def __init__(
        self,
        student_weight: float = 0.1,
        critic_weight: float = 0.1,
        gradient_penalty: float = 10.0,
        critic_lr: float = 4e-4,
        widths: Optional[dict] = None,
    ) -> None:
        super().__init__()
        if critic_weight <= 0:
            raise ValueError(f'critic_weight must be positive, or the critic would learn nothing: got {critic_weight}')
        self.student_weight = student_weight
        self.critic_weight = critic_weight
        self.gradient_penalty = gradient_penalty
        self.optim_options = dict(critic=dict(lr=critic_lr))
        if widths:
            self.make_parts(**widths)

    def make_parts(self, num_classes: int) -> None:
        self.critic = Critic(num_classes)

    def forward(self, preds_S: Tensor, preds_T: Tensor) -> Tensor:
        """The sum of `terms`, a scalar."""
        return sum(self.terms(preds_S, preds_T).values())

    @torch.compiler.disable  # second derivatives
    def terms(self, preds_S: Tensor, preds_T: Tensor) -> Dict[str, Tensor]:
        """'critic' and 'penalty', of logits (N, C, h, w) of both."""
        check_same_shape(preds_S, preds_T)
        fake, real = full(preds_S), full(preds_T.detach())
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
