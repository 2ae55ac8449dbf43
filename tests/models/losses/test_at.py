"""Attention transfer equals the NumPy oracle."""

import catalog
import numpy as np
import oracles
import pytest
from catalog import arrays, make_loss
from mmrazor.models.losses import ATLoss


def test_attention_transfer_and_mmrazors_equal_the_oracle(given):
    expected = np.mean(
        [
            oracles.mean_square(*(np.array(oracles.attention(image)) for image in pair))
            for pair in zip(*arrays(given, 'feats_S', 'feats_T'))
        ]
    )
    assert catalog.value(make_loss('ATLoss', weight=3), given).item() == pytest.approx(3 * expected)
    assert ATLoss(3)(given['feats_S'], given['feats_T']).item() == pytest.approx(3 * expected)
