"""The vision transformer of DeiT (Touvron et al., arXiv 2012.12877), with the parameter names of its checkpoints."""

import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn
from torch.nn import LayerNorm
from torch.nn.init import trunc_normal_

EPS = 1e-6


class Attention(nn.Module):
    """Multi-head self-attention: (N, L, D) to (N, L, D)."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, length, width = x.shape
        qkv = self.qkv(x).view(n, length, 3, self.num_heads, width // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(query, key, value)
        return self.proj(x.transpose(1, 2).reshape(n, length, width))


class Mlp(nn.Module):
    """Two linear layers with a GELU between them: (N, L, D) to (N, L, D)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Pre-norm attention and MLP, each with a learned scale per channel: (N, L, D) to (N, L, D).

    DeiT has no such scale, but the authors of ViT-Adapter add it. It starts at 1, where it has no effect.
    """

    def __init__(self, width: int, num_heads: int, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.norm1 = LayerNorm(width, EPS)
        self.attn = Attention(width, num_heads)
        self.norm2 = LayerNorm(width, EPS)
        self.mlp = Mlp(width, int(width * mlp_ratio))
        self.drop_path = DropPath(drop_path)
        self.gamma1 = nn.Parameter(self.norm1.weight.new_ones(width))
        self.gamma2 = nn.Parameter(self.norm1.weight.new_ones(width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.gamma1 * self.attn(self.norm1(x)))
        return x + self.drop_path(self.gamma2 * self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    """Linear embedding of patches of P x P pixels: (N, 3, H, W) to (N, H / P * W / P, D)."""

    def __init__(self, width: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch_size, patch_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


def init_linear(module: nn.Module) -> None:
    """Initializes a linear layer like DeiT: weights from a truncated normal distribution, biases 0."""
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


def init_convolution(module: nn.Module) -> None:
    """Initializes a convolution like ViT-Adapter: weights from a normal distribution (He, fan out), biases 0."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(
            module.weight, std=(2 * module.groups / module.weight[0, 0].numel() / module.out_channels) ** 0.5
        )
        if module.bias is not None:
            nn.init.zeros_(module.bias)
