"""The critic of SKDS and IFVD: a discriminator that scores logits."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

MIN_SIZE = 64  # the five convolutions need a map of at least this height and width


class SelfAttention(nn.Module):
    """Self-attention over all positions, added with a learned weight that starts at 0 (SAGAN, arXiv 1805.08318)."""

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
    """The self-attention discriminator of SKDS: logits (N, C, h, w) to scores (N, 1, ...).

    It starts with a layer norm, where SKDS has a batch norm. WGAN-GP needs a norm that does not couple the
    images of a batch (arXiv 1704.00028, section 4).
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
        size = [max(MIN_SIZE, extent) for extent in preds.shape[2:]]
        return super().forward(F.interpolate(preds, size, mode='bilinear'))
