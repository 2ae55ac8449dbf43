"""AICSD equals the NumPy oracle, in value and gradient."""

import catalog
import oracles
import pytest
import torch
from catalog import assert_equals, make_loss

from mmseg_bpkd.models.losses.aicsd import class_divergences


@pytest.mark.parametrize('normalize', [False, True])
@pytest.mark.parametrize('tau', [1.0, 3.0])
def test_aicsd_equals_the_oracle(given, tau, normalize):
    loss = make_loss('AICSDLoss', weight=3, tau=tau, normalize=normalize)
    preds_T = given['preds_T'].numpy()
    taken = catalog.arguments(loss, given)
    assert_equals(loss, taken, lambda preds: 3 * oracles.inter_class(preds, preds_T, tau, normalize))


@pytest.mark.parametrize('scale', [0.03, 1.0, 40.0])
def test_class_divergences_of_150_classes_are_accurate_in_float32(scale):
    """For flat distributions, whose divergences are tiny, and for some with almost all mass in one position."""
    preds = scale * torch.randn(1, 150, 32, 32)
    exact, found = class_divergences(preds.double()), class_divergences(preds)
    assert found.diagonal(dim1=1, dim2=2).abs().max() == 0
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=2e-6)


def test_no_tensor_of_the_class_divergences_has_an_element_per_pair_and_position():
    preds = torch.randn(1, 60, 16, 16, requires_grad=True)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x.numel()) or x, lambda x: x):
        class_divergences(preds).sum().backward()
    assert max(saved) <= preds.numel()
