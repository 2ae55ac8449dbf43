"""Cross-image relational distillation equals the NumPy oracle."""

import numpy as np
import oracles
import pytest
import torch
from catalog import arrays, make_loss, terms

from mmseg_bpkd.models.losses.cirkd import pooled


def test_cross_image_distillation_equals_the_oracle(given):
    """With settings under which all pixels enter the memories and all entries are drawn."""
    loss = make_loss(
        'CIRKDLoss',
        batch_weight=3,
        pixel_weight=5,
        region_weight=7,
        pixel_memory=100,
        region_memory=100,
        pixel_contrast=300,
        region_contrast=300,
        pixels_per_class=20,
        tau=0.5,
    )
    loss.projector.double()  # the memories stay in half precision
    projector = [parameter.detach().numpy() for parameter in loss.projector.parameters()]
    feats_S, feats_T, labels = arrays(given, 'feats_S', 'feats_T', 'gt')
    hidden = np.array([oracles.convolved(image, projector[0]) for image in feats_S])
    mean, variance = hidden.mean((0, 2, 3), keepdims=True), hidden.var((0, 2, 3), keepdims=True)
    hidden = np.maximum((hidden - mean) / np.sqrt(variance + 1e-5), 0)
    projected = np.array([oracles.convolved(image, projector[3]) for image in hidden])

    units_S, units_T, units_P = ([oracles.unit_vectors(image) for image in x] for x in (feats_S, feats_T, projected))
    pairs = [
        oracles.relation_kl(units_S[i], units_T[i], units_S[j], units_T[j], 0.5) for i in range(2) for j in range(2)
    ]
    expected = dict(batch=3 * np.mean(pairs))
    for (name, weight), memory in zip(dict(pixel=5, region=7).items(), oracles.class_memories(feats_T, labels, 3)):
        held = [vector.astype(np.float16).astype(float) for of_class in memory for vector in of_class]
        values = []
        for student, teacher, label in zip(units_P, units_T, labels):
            per_pixel = oracles.relation_kl(student, teacher, held, held, 0.5)
            values += [v for v, c in zip(per_pixel, oracles.nearest(label, 4, 5).ravel()) if c != oracles.VOID]
        expected[name] = weight * np.mean(values)
    assert terms(loss, given) == pytest.approx(expected, rel=1e-6)


def test_memories_contain_the_vectors_of_each_class_in_order(given):
    loss = make_loss('CIRKDLoss', pixel_memory=30, region_memory=4, pixels_per_class=20)
    loss.projector.double()
    terms(loss, given)
    pixels, means = oracles.class_memories(*arrays(given, 'feats_T', 'gt'), 3)
    for memory, expected in ((loss.memories['pixel'], pixels), (loss.memories['region'], means)):
        assert memory.vectors.dtype == torch.float16
        assert memory.written.tolist() == [len(vectors) for vectors in expected]
        for held, vectors in zip(memory.vectors, expected):
            np.testing.assert_allclose(held[: len(vectors)], np.array(vectors).reshape(-1, 6), atol=1e-3)
            assert (held[len(vectors) :] == 0).all()


@pytest.mark.parametrize(
    ('extent', 'most', 'size'),
    [((64, 128), 1024, (16, 32)), ((64, 64), 1024, (32, 32)), ((45, 45), 1024, (23, 23)), ((16, 16), 1024, (16, 16))],
)
def test_large_maps_are_pooled_until_they_have_at_most_the_given_number_of_positions(extent, most, size):
    assert pooled(torch.rand(1, 2, *extent), most).shape[2:] == size and size[0] * size[1] <= most


def test_cross_image_loss_respects_max_positions_and_the_number_of_contrast_vectors(given, monkeypatch):
    from mmseg_bpkd.models.losses import cirkd

    sizes = []
    original = cirkd.relation_kl
    monkeypatch.setattr(
        cirkd, 'relation_kl', lambda *args: sizes.append((args[0].shape[-2], args[2].shape[-2])) or original(*args)
    )
    terms(make_loss('CIRKDLoss', max_positions=8, pixel_contrast=30, region_contrast=12).double(), given)
    assert sizes[0] == (6, 6) and all(most <= 8 for most, _ in sizes)
    assert sizes[1][1] <= 3 * 11 and sizes[2][1] <= 3 * 5


def test_the_size_of_the_memories_is_logged(monkeypatch):
    from mmseg_bpkd.models.losses import cirkd

    messages = []
    monkeypatch.setattr(cirkd, 'print_log', lambda message, logger: messages.append(message))
    loss = make_loss('CIRKDLoss', pixel_memory=2**18, region_weight=0)
    mebibytes = loss.memories['pixel'].vectors.numel() * 2 / 2**20
    assert f'{mebibytes:.0f} MiB' in messages[0] and mebibytes == 9


def test_a_weight_of_zero_removes_the_term_and_its_memory(given):
    loss = make_loss('CIRKDLoss', batch_weight=0, pixel_weight=0, region_memory=7).double()
    assert list(terms(loss, given)) == ['region'] and list(loss.memories) == ['region']


def test_without_terms_the_loss_is_a_zero_that_can_be_trained_on(given):
    loss = make_loss('CIRKDLoss', batch_weight=0, pixel_weight=0, region_weight=0)
    feats_S = given['feats_S'].requires_grad_()
    value = loss(feats_S, given['feats_T'], given['gt'])
    value.backward()
    assert value == 0 and (feats_S.grad == 0).all()


def test_a_memory_of_size_zero_is_refused():
    with pytest.raises(ValueError, match='at least one vector per class, got 0'):
        make_loss('CIRKDLoss', region_memory=0)
