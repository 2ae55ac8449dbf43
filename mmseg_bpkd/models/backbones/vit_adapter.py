"""ViT-Adapter (Chen et al., Vision Transformer Adapter for Dense Predictions, ICLR 2023, arXiv 2205.08534).

As in the authors' code, x stands for the transformer's map (stride 16) and c for the adapter's maps (strides 8, 16 and
32). Both are tokens, (N, L, D), unless stated otherwise.
"""

import math
from collections.abc import Sequence
from itertools import accumulate

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmcv.cnn.bricks import DropPath
from mmcv.ops import MultiScaleDeformableAttention
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from mmseg_bpkd.fileio.checkpoint import read_checkpoint

from .deit import EPS, Block, PatchEmbed, init_convolution, init_linear

STRIDES = (4, 8, 16, 32)


class SpatialPrior(nn.Module):
    """The spatial prior module, a convolutional stem: (N, 3, H, W) to four maps of `width` channels at `STRIDES`."""

    def __init__(self, width: int, stem_width: int, norm_cfg: dict) -> None:
        def layer(i: int, o: int, stride: int) -> list:
            return [nn.Conv2d(i, o, 3, stride, 1, bias=False), build_norm_layer(norm_cfg, o)[1], nn.ReLU(inplace=True)]

        super().__init__()
        w = stem_width
        self.stem = nn.Sequential(*layer(3, w, 2), *layer(w, w, 1), *layer(w, w, 1), nn.MaxPool2d(3, 2, 1))
        self.conv2 = nn.Sequential(*layer(w, 2 * w, 2))
        self.conv3 = nn.Sequential(*layer(2 * w, 4 * w, 2))
        self.conv4 = nn.Sequential(*layer(4 * w, 4 * w, 2))
        self.fc1, self.fc2, self.fc3, self.fc4 = (nn.Conv2d(i, width, 1) for i in (w, 2 * w, 4 * w, 4 * w))

    def forward(self, x: Tensor) -> list[Tensor]:
        c1 = self.stem(x)
        c2 = self.conv2(c1)
        c3 = self.conv3(c2)
        c4 = self.conv4(c3)
        return [self.fc1(c1), self.fc2(c2), self.fc3(c3), self.fc4(c4)]


class AttentionGeometry:
    """The arguments of deformable attention that depend only on the sizes of the maps.

    Args:
        query_sizes: (h, w) of each map whose cells are the queries.
        feat_sizes: (h, w) of each map that they attend to.
        like: any tensor with the batch size, device and dtype of the queries.
    """

    def __init__(self, query_sizes: Sequence[tuple], feat_sizes: Sequence[tuple], like: Tensor) -> None:
        self.spatial_shapes = torch.tensor(feat_sizes, device=like.device)
        self.level_start_index = torch.tensor([0, *accumulate(h * w for h, w in feat_sizes)][:-1], device=like.device)
        self.reference_points = cell_centers(query_sizes, like).expand(len(like), -1, len(feat_sizes), -1)


class CrossAttention(nn.Module):
    """Layer norms and deformable attention from one set of maps to another. Each set is given as tokens, (N, L, D)."""

    def __init__(self, width: int, num_heads: int, levels: int, ratio: float) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(width, EPS)
        self.feat_norm = nn.LayerNorm(width, EPS)
        self.attn = MultiScaleDeformableAttention(
            width, num_heads, levels, num_points=4, dropout=0, batch_first=True, value_proj_ratio=ratio
        )

    def attend(self, query: Tensor, feat: Tensor, geometry: AttentionGeometry) -> Tensor:
        return self.attn(
            self.query_norm(query), value=self.feat_norm(feat), identity=query.new_zeros(()), **vars(geometry)
        )


class Injector(CrossAttention):
    """Updates the transformer's map x: x attends to the adapter's maps c, and the result is added, scaled by `gamma`.

    `gamma` starts at 0, so that a pretrained transformer is unchanged at first.
    """

    def __init__(self, width: int, num_heads: int, ratio: float) -> None:
        super().__init__(width, num_heads, levels=3, ratio=ratio)
        self.gamma = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, c: Tensor, x_to_c: AttentionGeometry) -> Tensor:
        return x + self.gamma * self.attend(x, c, x_to_c)


class Extractor(CrossAttention):
    """Updates the adapter's maps c: they attend to the transformer's map x.

    A convolutional feed-forward layer follows.
    """

    def __init__(self, width: int, num_heads: int, ratio: float, ffn_ratio: float, drop_path: float) -> None:
        super().__init__(width, num_heads, levels=1, ratio=ratio)
        self.ffn = ConvFFN(width, int(width * ffn_ratio))
        self.ffn_norm = nn.LayerNorm(width, EPS)
        self.drop_path = DropPath(drop_path)

    def forward(self, c: Tensor, c_sizes: list, x: Tensor, c_to_x: AttentionGeometry) -> Tensor:
        c = c + self.attend(c, x, c_to_x)
        return c + self.drop_path(self.ffn(self.ffn_norm(c), c_sizes))


class ConvFFN(nn.Module):
    """A feed-forward layer with a depth-wise 3x3 convolution of each map: (N, L, D) to (N, L, D)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.dwconv = nn.ModuleDict(dict(dwconv=nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)))
        self.fc2 = nn.Linear(hidden, width)
        self.apply(init_linear)

    def forward(self, x: Tensor, sizes: list) -> Tensor:
        maps = [self.dwconv['dwconv'](part) for part in as_maps(self.fc1(x), sizes)]
        return self.fc2(F.gelu(as_tokens(maps)))


class Interaction(nn.Module):
    """One interaction: the injector updates x, the given transformer blocks run, and the extractors update c."""

    def __init__(
        self, width: int, num_heads: int, ratio: float, ffn_ratio: float, drop_path: float, extra: int
    ) -> None:
        super().__init__()
        self.injector = Injector(width, num_heads, ratio)
        self.extractor = Extractor(width, num_heads, ratio, ffn_ratio, drop_path)
        self.extra_extractors = nn.ModuleList(
            Extractor(width, num_heads, ratio, ffn_ratio, drop_path) for _ in range(extra)
        )

    def forward(
        self,
        x: Tensor,
        c: Tensor,
        c_sizes: list,
        x_to_c: AttentionGeometry,
        c_to_x: AttentionGeometry,
        blocks: nn.Sequential,
    ) -> tuple:
        x = blocks(self.injector(x, c, x_to_c))
        for extractor in (self.extractor, *self.extra_extractors):
            c = extractor(c, c_sizes, x, c_to_x)
        return x, c


@MODELS.register_module()
class ViTAdapter(BaseModule):
    """ViT-Adapter (Chen et al., ICLR 2023, arXiv 2205.08534): a DeiT transformer with a convolutional adapter.

    Transformer and adapter exchange features in four interactions. Parameters have the names of the authors' code;
    those of the transformer have the names of DeiT's checkpoints. On a GPU, deformable attention uses mmcv's compiled
    operator if it is installed. Otherwise it uses PyTorch.

    Args:
        embed_dims, num_layers, num_heads: of the transformer. Tiny: 192, 12, 3; base: 768, 12, 12.
        mlp_ratio: hidden width of the transformer's MLPs, relative to `embed_dims`.
        drop_path_rate: drop rate of the last block and of the adapter. In the blocks, it grows linearly from 0.
        patch_size: in pixels. Only 16 is supported, because the transformer's map has stride 16.
        pretrain_size: image size in pixels for which the position embeddings were trained.
        conv_inplane: channels of the first layers of the convolutional stem.
        deform_num_heads, deform_ratio: of deformable attention: number of heads, and width of its values relative to
            `embed_dims`. Tiny: 6, 1.0; base: 12, 0.5.
        cffn_ratio: hidden width of the adapter's feed-forward layers, relative to `embed_dims`.
        interaction_indexes: first and last block of each interaction.
        init_cfg: dict(type='Pretrained', checkpoint=...) with a checkpoint from DeiT's repository.

    Raises:
        ValueError: if `patch_size` is not 16.

    Shape:
        Input (N, 3, H, W), of any size. Output: four maps, (N, embed_dims, ceil(H / s), ceil(W / s)) for the strides
        s = 4, 8, 16 and 32.
    """

    def __init__(
        self,
        embed_dims: int = 192,
        num_layers: int = 12,
        num_heads: int = 3,
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.1,
        patch_size: int = 16,
        pretrain_size: int = 224,
        conv_inplane: int = 64,
        deform_num_heads: int = 6,
        deform_ratio: float = 1.0,
        cffn_ratio: float = 0.25,
        interaction_indexes: Sequence[tuple[int, int]] = ((0, 2), (3, 5), (6, 8), (9, 11)),
        norm_cfg: dict = dict(type='SyncBN', requires_grad=True),
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if patch_size != 16:
            raise ValueError(f'patch_size must be 16, got {patch_size}: the map of the transformer has stride 16')
        width = embed_dims
        self.interaction_indexes = interaction_indexes
        self.grid = pretrain_size // patch_size
        self.patch_embed = PatchEmbed(width, patch_size)
        # The first embedding is that of the class token: DeiT's checkpoints have it, but it is not used here.
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.grid**2, width))
        rates = torch.linspace(0, drop_path_rate, num_layers).tolist()
        self.blocks = nn.Sequential(*[Block(width, num_heads, mlp_ratio, rate) for rate in rates])
        self.level_embed = nn.Parameter(torch.randn(3, width))
        self.spm = SpatialPrior(width, conv_inplane, norm_cfg)
        last = len(interaction_indexes) - 1
        self.interactions = nn.ModuleList(
            Interaction(width, deform_num_heads, deform_ratio, cffn_ratio, drop_path_rate, extra=2 if i == last else 0)
            for i in range(last + 1)
        )
        self.up = nn.ConvTranspose2d(width, width, 2, 2)
        for i in range(1, 5):
            self.add_module(f'norm{i}', build_norm_layer(norm_cfg, width)[1])
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks.apply(init_linear)
        self.apply(init_convolution)

    def init_weights(self) -> None:
        """Loads the transformer's weights if `init_cfg` is given. `__init__` has initialized all other weights.

        Raises:
            ValueError: if the checkpoint lacks a weight of the transformer, or has it in another shape.
        """
        if self.init_cfg:
            load_deit(self, self.init_cfg['checkpoint'])

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        # Pad to a multiple of 32, so that the maps of all strides align; crop the maps afterwards.
        height, width = x.shape[2:]
        x = F.pad(x, (0, -width % STRIDES[-1], 0, -height % STRIDES[-1]))
        maps = self._maps(x)
        return tuple(
            norm(c[..., : math.ceil(height / stride), : math.ceil(width / stride)])
            for norm, c, stride in zip((self.norm1, self.norm2, self.norm3, self.norm4), maps, STRIDES)
        )

    def _maps(self, image: Tensor) -> list[Tensor]:
        c1, *maps = self.spm(image)
        c_sizes, x_sizes = [tuple(c.shape[2:]) for c in maps], [tuple(maps[1].shape[2:])]
        c = as_tokens([c + embed[:, None, None] for c, embed in zip(maps, self.level_embed)])
        x = self.patch_embed(image) + self._resized_pos_embed(x_sizes[0])
        x_to_c, c_to_x = AttentionGeometry(x_sizes, c_sizes, x), AttentionGeometry(c_sizes, x_sizes, x)
        vit_maps = []
        for interaction, (first, last) in zip(self.interactions, self.interaction_indexes):
            x, c = interaction(x, c, c_sizes, x_to_c, c_to_x, self.blocks[first : last + 1])
            vit_maps += as_maps(x, x_sizes)
        c2, c3, c4 = as_maps(c, c_sizes)
        maps = [c1 + self.up(c2), c2, c3, c4]
        return [c + F.interpolate(x, c.shape[2:], mode='bilinear') for c, x in zip(maps, vit_maps)]

    def _resized_pos_embed(self, size: tuple[int, int]) -> Tensor:
        grid = self.pos_embed[:, 1:].transpose(1, 2).unflatten(2, (self.grid, self.grid))
        return as_tokens([F.interpolate(grid, size, mode='bicubic')])


def as_tokens(maps: list[Tensor]) -> Tensor:
    """Flattens and concatenates maps, each (N, D, h, w), to tokens, (N, L, D), where L is the sum of all h * w."""
    return torch.cat([x.flatten(2) for x in maps], 2).transpose(1, 2)


def as_maps(tokens: Tensor, sizes: Sequence[tuple]) -> list[Tensor]:
    """The inverse of `as_tokens`, for maps of these sizes, (h, w)."""
    parts = tokens.transpose(1, 2).split([h * w for h, w in sizes], 2)
    return [part.unflatten(2, size) for part, size in zip(parts, sizes)]


def cell_centers(sizes: Sequence[tuple], like: Tensor) -> Tensor:
    """Centers (x, y) of all cells of all maps, relative to the map's width and height: (1, L, 1, 2) in [0, 1]."""
    grids = []
    for h, w in sizes:
        y, x = torch.meshgrid((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w, indexing='ij')
        grids.append(torch.stack([x, y], -1).flatten(0, 1))
    return torch.cat(grids)[None, :, None].to(like)


def load_deit(model: ViTAdapter, source: str) -> None:
    """Loads the transformer of `model` from a DeiT checkpoint, a path or URL.

    Raises:
        ValueError: if the checkpoint lacks a weight of the transformer, or has it in another shape.
    """
    checkpoint = read_checkpoint(source)
    state = checkpoint.get('model', checkpoint.get('state_dict', checkpoint))
    ours = {
        key: value
        for key, value in model.state_dict().items()
        if key.startswith(('patch_embed.', 'pos_embed', 'blocks.')) and 'gamma' not in key
    }
    wrong = [key for key in ours if key not in state or state[key].shape != ours[key].shape]
    if wrong:
        raise ValueError(
            f'{source} does not fit this transformer: {len(wrong)} of {len(ours)} weights are missing or have another '
            f'shape, such as {wrong[0]}; use a DeiT checkpoint of width {model.pos_embed.shape[2]} with '
            f'{len(model.blocks)} blocks and {model.grid}x{model.grid} position embeddings'
        )
    model.load_state_dict({key: state[key] for key in ours}, strict=False)
