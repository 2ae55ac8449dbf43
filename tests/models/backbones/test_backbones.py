"""ViT-Adapter: shapes, parameter names, checkpoints and deformable attention."""

import hashlib
import sys

import mmcv.ops.multi_scale_deform_attn as multi_scale_deform_attn
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS

from mmseg_bpkd.models.backbones import ViTAdapter
from mmseg_bpkd.models.backbones.vit_adapter import AttentionGeometry, as_maps, as_tokens, cell_centers

SMALL = dict(
    embed_dims=24,
    num_layers=4,
    num_heads=3,
    conv_inplane=4,
    deform_num_heads=2,
    interaction_indexes=((0, 0), (1, 1), (2, 2), (3, 3)),
    norm_cfg=dict(type='BN'),
)
BLOCK = (
    'norm1.weight',
    'norm1.bias',
    'attn.qkv.weight',
    'attn.qkv.bias',
    'attn.proj.weight',
    'attn.proj.bias',
    'norm2.weight',
    'norm2.bias',
    'mlp.fc1.weight',
    'mlp.fc1.bias',
    'mlp.fc2.weight',
    'mlp.fc2.bias',
)


def test_another_patch_size_is_refused():
    with pytest.raises(ValueError, match='patch_size must be 16, got 8'):
        ViTAdapter(**SMALL, patch_size=8)


def small(**changes) -> ViTAdapter:
    return ViTAdapter(**dict(SMALL, **changes)).eval()


def deit(width: int, layers: int) -> dict:
    """A random checkpoint with the names of DeiT's repository, including the classifier and the class token."""
    shapes = dict(cls_token=(1, 1, width), pos_embed=(1, 197, width))
    shapes.update(
        {
            'patch_embed.proj.weight': (width, 3, 16, 16),
            'patch_embed.proj.bias': (width,),
            'norm.weight': (width,),
            'norm.bias': (width,),
            'head.weight': (1000, width),
            'head.bias': (1000,),
        }
    )
    wide = {'attn.qkv': 3, 'mlp.fc1': 4}
    for i in range(layers):
        for name in BLOCK:
            module, kind = name.rsplit('.', 1)
            out = wide.get(module, 1) * width
            into = 4 * width if module == 'mlp.fc2' else width
            linear = kind == 'weight' and 'norm' not in module
            shapes[f'blocks.{i}.{name}'] = (out, into) if linear else (out,)
    return dict(model={name: torch.randn(shape) for name, shape in shapes.items()})


@pytest.mark.parametrize(
    ('extent', 'sizes'),
    [((64, 96), [(16, 24), (8, 12), (4, 6), (2, 3)]), ((70, 33), [(18, 9), (9, 5), (5, 3), (3, 2)])],
)
def test_output_has_strides_4_to_32_for_any_image_size(extent, sizes):
    maps = small()(torch.randn(2, 3, *extent))
    assert [tuple(x.shape) for x in maps] == [(2, 24, *size) for size in sizes]


@pytest.mark.parametrize(
    ('config', 'digest'),
    [
        (dict(), 'a23cd179f8572a89d5459170bd170b1165d5900ea1e457b9269376cf46c2435d'),
        (
            dict(embed_dims=768, num_heads=12, deform_num_heads=12, deform_ratio=0.5),
            'b9cef2f1c7e7808c4f85b3864195333d6a5a40b276fab5ac523a7d85e24a5df9',
        ),
    ],
    ids=['tiny', 'base'],
)
def test_parameters_have_the_names_and_shapes_of_the_authors_code(config, digest):
    """The digests were computed from the authors' modules, built with the settings of their UPerNet configs."""
    state = MODELS.build(dict(type='ViTAdapter', **config)).state_dict()
    lines = [f'{key} {tuple(value.shape)}' for key, value in sorted(state.items())]
    assert len(lines) == 410
    assert hashlib.sha256('\n'.join(lines).encode()).hexdigest() == digest


def test_pretrain_size_384_explains_the_published_133_9_million_parameters():
    """With DeiT's 224x224 position embeddings, the base network has 0.29 M parameters less. See docs/recipes.md."""
    base = dict(embed_dims=768, num_heads=12, deform_num_heads=12, deform_ratio=0.5)
    backbone, larger = (ViTAdapter(**base, pretrain_size=size) for size in (224, 384))
    head = 133636876 - count(backbone)  # UPerNet head: total from experiments/complexity.json
    assert round((count(larger) + head) / 1e6, 1) == 133.9


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_deit_checkpoint_loads(tmp_path):
    checkpoint = deit(24, 4)
    torch.save(checkpoint, tmp_path / 'deit.pth')
    model = small(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'deit.pth')))
    model.init_weights()
    state = model.state_dict()
    loaded = [key for key in checkpoint['model'] if key in state]
    assert len(loaded) == 4 * 12 + 3
    assert all(torch.equal(state[key], checkpoint['model'][key]) for key in loaded)
    assert (state['blocks.0.gamma1'] == 1).all()


def test_checkpoint_of_another_transformer_raises_value_error(tmp_path):
    torch.save(deit(48, 4), tmp_path / 'deit.pth')
    model = small(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'deit.pth')))
    with pytest.raises(ValueError, match='deit.pth does not fit this transformer: .* of 51 .*another shape.* width 24'):
        model.init_weights()


def test_transformer_block_equals_the_formula():
    block = small(drop_path_rate=0.0).blocks[0]
    x = torch.randn(2, 5, 24)
    with torch.no_grad():
        normed = torch.nn.functional.layer_norm(x, (24,), block.norm1.weight, block.norm1.bias, 1e-6)
        qkv = normed @ block.attn.qkv.weight.t() + block.attn.qkv.bias
        heads = []
        for h in range(3):
            q, k, v = (qkv[..., i * 24 + h * 8 : i * 24 + (h + 1) * 8] for i in range(3))
            heads.append((q @ k.transpose(1, 2) / 8**0.5).softmax(-1) @ v)
        x1 = x + torch.cat(heads, -1) @ block.attn.proj.weight.t() + block.attn.proj.bias
        torch.testing.assert_close(block(x), x1 + block.mlp(block.norm2(x1)))


def test_injector_starts_as_identity():
    """A pretrained transformer must be unchanged at the start of training."""
    model = small()
    x, c = torch.randn(1, 4, 24), torch.randn(1, 21, 24)
    injected = model.interactions[0].injector(x, c, AttentionGeometry([(2, 2)], [(4, 4), (2, 2), (1, 1)], x))
    assert torch.equal(injected, x)


def test_as_maps_inverts_as_tokens():
    maps = [torch.randn(2, 3, 4, 6), torch.randn(2, 3, 2, 3)]
    assert all(torch.equal(a, b) for a, b in zip(as_maps(as_tokens(maps), [(4, 6), (2, 3)]), maps))


def test_attention_geometry_describes_the_levels():
    """Only the compiled operator reads `level_start_index`."""
    geometry = AttentionGeometry([(2, 2)], [(4, 4), (2, 3), (1, 1)], torch.zeros(2, 4, 24))
    assert geometry.level_start_index.tolist() == [0, 16, 22]
    assert geometry.spatial_shapes.tolist() == [[4, 4], [2, 3], [1, 1]]
    assert geometry.reference_points.shape == (2, 4, 3, 2)


def test_cell_centers_are_xy_in_row_major_order():
    centers = cell_centers([(1, 2), (2, 1)], torch.zeros(1))[0, :, 0]
    np.testing.assert_allclose(centers, [[0.25, 0.5], [0.75, 0.5], [0.5, 0.25], [0.5, 0.75]])


def test_every_parameter_gets_a_gradient():
    model = ViTAdapter(**SMALL).train()
    sum(x.square().mean() for x in model(torch.randn(2, 3, 64, 64))).backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not without


def test_position_embeddings_are_resized_to_the_image():
    model = small()
    with torch.no_grad():
        model.pos_embed[:, 1:] = model.pos_embed[:, 1:2] * 0 + torch.arange(24.0)
        same = model._resized_pos_embed((14, 14))
        assert torch.allclose(same, model.pos_embed[:, 1:])
        assert torch.allclose(model._resized_pos_embed((4, 6)), torch.arange(24.0).expand(1, 24, 24), atol=1e-5)


compiled = sys.modules['mmcv._ext'].__spec__.loader is not None


@pytest.mark.skipif(not (compiled and torch.cuda.is_available()), reason='needs compiled mmcv operators and a GPU')
def test_compiled_operator_equals_pytorch():
    model, image = small(), torch.randn(1, 3, 64, 96)
    expected = model(image)
    for ours, theirs in zip(model.cuda()(image.cuda()), expected):
        torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.skipif(compiled, reason='needs mmcv without compiled operators')
def test_gpu_uses_pytorch_without_compiled_operators():
    assert multi_scale_deform_attn.IS_CUDA_AVAILABLE is False
