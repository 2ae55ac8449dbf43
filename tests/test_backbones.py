"""ViT-Adapter: shapes, names, weights, and its deformable attention."""

import hashlib
import sys

import mmcv.ops.multi_scale_deform_attn as multi_scale_deform_attn
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS

from mmseg_bpkd.backbones import ViTAdapter
from mmseg_bpkd.backbones.vit_adapter import Geometry, as_maps, as_tokens, cell_centres

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


def small(**changes) -> ViTAdapter:
    return ViTAdapter(**dict(SMALL, **changes)).eval()


def deit(width: int, layers: int) -> dict:
    """A checkpoint under the names of DeiT's repository, classifier and class token included."""
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
def test_four_maps_come_at_strides_4_to_32_from_images_of_any_size(extent, sizes):
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
def test_weights_have_the_names_and_shapes_of_the_authors_code(config, digest):
    """The digests are of ViT-Adapter's own modules, built with the settings of its UPerNet configs."""
    state = MODELS.build(dict(type='ViTAdapter', **config)).state_dict()
    lines = [f'{key} {tuple(value.shape)}' for key, value in sorted(state.items())]
    assert len(lines) == 410
    assert hashlib.sha256('\n'.join(lines).encode()).hexdigest() == digest


def test_positions_of_384_pixel_images_would_make_the_base_networks_published_133_9_million():
    """Our count, of the 224x224 positions of DeiT's weights, is 0.29 M below; see docs/recipes.md."""
    base = dict(embed_dims=768, num_heads=12, deform_num_heads=12, deform_ratio=0.5)
    backbone, larger = (ViTAdapter(**base, pretrain_size=size) for size in (224, 384))
    head = 133636876 - count(backbone)  # UPerNet's, from experiments/complexity.json
    assert round((count(larger) + head) / 1e6, 1) == 133.9


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_deits_weights_load_under_their_published_names(tmp_path):
    checkpoint = deit(24, 4)
    torch.save(checkpoint, tmp_path / 'deit.pth')
    model = small(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'deit.pth')))
    model.init_weights()
    state = model.state_dict()
    loaded = [key for key in checkpoint['model'] if key in state]
    assert len(loaded) == 4 * 12 + 3
    assert all(torch.equal(state[key], checkpoint['model'][key]) for key in loaded)
    assert (state['blocks.0.gamma1'] == 1).all()


def test_weights_of_another_transformer_are_refused(tmp_path):
    torch.save(deit(48, 4), tmp_path / 'deit.pth')
    model = small(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'deit.pth')))
    with pytest.raises(ValueError, match='deit.pth holds no weights of this transformer: .* of 51 .*another shape'):
        model.init_weights()


def test_the_transformers_blocks_are_those_of_the_formula():
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


def test_at_first_nothing_is_injected_into_the_transformer():
    """So that a pretrained transformer starts as it is."""
    model = small()
    x, c = torch.randn(1, 4, 24), torch.randn(1, 21, 24)
    injected = model.interactions[0].injector(x, c, Geometry([(2, 2)], [(4, 4), (2, 2), (1, 1)], x))
    assert torch.equal(injected, x)


def test_tokens_and_maps_are_each_others_inverse():
    maps = [torch.randn(2, 3, 4, 6), torch.randn(2, 3, 2, 3)]
    assert all(torch.equal(a, b) for a, b in zip(as_maps(as_tokens(maps), [(4, 6), (2, 3)]), maps))


def test_each_level_starts_where_the_one_before_it_ends():
    """Only the compiled operator reads that."""
    geometry = Geometry([(2, 2)], [(4, 4), (2, 3), (1, 1)], torch.zeros(2, 4, 24))
    assert geometry.level_start_index.tolist() == [0, 16, 22]
    assert geometry.spatial_shapes.tolist() == [[4, 4], [2, 3], [1, 1]]
    assert geometry.reference_points.shape == (2, 4, 3, 2)


def test_cell_centres_are_x_and_y_in_row_order():
    centres = cell_centres([(1, 2), (2, 1)], torch.zeros(1))[0, :, 0]
    np.testing.assert_allclose(centres, [[0.25, 0.5], [0.75, 0.5], [0.5, 0.25], [0.5, 0.75]])


def test_every_parameter_is_trained():
    model = ViTAdapter(**SMALL).train()
    sum(x.square().mean() for x in model(torch.randn(2, 3, 64, 64))).backward()
    idle = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not idle


def test_positions_are_interpolated_to_the_size_of_the_image():
    model = small()
    with torch.no_grad():
        model.pos_embed[:, 1:] = model.pos_embed[:, 1:2] * 0 + torch.arange(24.0)
        same = model._positions((14, 14))
        assert torch.allclose(same, model.pos_embed[:, 1:])
        assert torch.allclose(model._positions((4, 6)), torch.arange(24.0).expand(1, 24, 24), atol=1e-5)


compiled = sys.modules['mmcv._ext'].__spec__.loader is not None


@pytest.mark.skipif(not (compiled and torch.cuda.is_available()), reason='needs compiled mmcv operators and a GPU')
def test_the_compiled_operator_agrees_with_pytorch():
    model, image = small(), torch.randn(1, 3, 64, 96)
    expected = model(image)
    for ours, theirs in zip(model.cuda()(image.cuda()), expected):
        torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.skipif(compiled, reason='mmcv has its compiled operators')
def test_without_compiled_operators_a_gpu_takes_the_pytorch_form():
    assert multi_scale_deform_attn.IS_CUDA_AVAILABLE is False
