"""Intra-class feature variation equals the NumPy oracle."""

import catalog
import oracles
import pytest
from catalog import arrays, make_loss


def test_intra_class_variation_equals_the_oracle(given):
    expected = oracles.intra_class(*arrays(given, 'feats_S', 'feats_T', 'gt'))
    assert catalog.value(make_loss('IFVDLoss', weight=3), given).item() == pytest.approx(3 * expected)
