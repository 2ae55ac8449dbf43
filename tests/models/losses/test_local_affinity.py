"""Local affinity equals the NumPy oracle."""

import catalog
import numpy as np
import oracles
import pytest
import torch
from catalog import arrays, make_loss


def test_local_affinity_equals_the_oracle(given):
    maps = [[oracles.inconsistency(image) for image in preds] for preds in arrays(given, 'preds_S', 'preds_T')]
    expected = oracles.mean_square(*np.array(maps))
    assert catalog.value(make_loss('LocalAffinityLoss', weight=3), given).item() == pytest.approx(3 * expected)


def test_local_affinity_and_its_gradient_are_zero_for_a_single_pixel():
    preds = torch.randn(1, 3, 1, 1, requires_grad=True)
    value = make_loss('LocalAffinityLoss')(preds, torch.randn(1, 3, 1, 1))
    value.backward()
    assert value.item() == 0 and preds.grad.abs().sum() == 0
