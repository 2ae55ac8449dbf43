"""Dense contrastive distillation equals the NumPy oracle."""

import numpy as np
import oracles
import pytest
import torch
from catalog import make_loss, terms
from test_mgd import generated

from mmseg_bpkd.models.losses.afdcd import dense_contrast


@pytest.mark.parametrize(('pool', 'patch'), [(1, 2), (2, 2), (1, 4)])
def test_dense_contrastive_distillation_equals_the_oracle(given, pool, patch):
    settings = dict(feature_weight=3, contrast_weight=5, groups=2, patch=patch, pool=pool, tau=0.7)
    loss = make_loss('AfDCDLoss', **settings).double()
    student, teacher = generated(loss, given), given['stage_T'].numpy()
    h, w = 4 // pool * pool, 5 // pool * pool
    maps = [
        np.array([oracles.max_pooled(image[:, :h, :w], pool, pool) for image in feats]) for feats in (student, teacher)
    ]
    assert terms(loss, given) == pytest.approx(
        dict(
            feature=3 * oracles.mean_square(student, teacher) * teacher[0].size,
            contrast=5 * oracles.dense_contrast(*maps, 2, patch, 0.7),
        )
    )


def test_a_map_smaller_than_a_patch_counts_as_one_patch():
    feats = torch.randn(2, 1, 4, 3, 2, dtype=torch.float64)
    assert dense_contrast(*feats, groups=2, patch=4, tau=1.0) > 0


def test_a_width_that_the_groups_do_not_divide_is_refused():
    with pytest.raises(ValueError, match='8 channels, which 5 groups do not divide'):
        make_loss('AfDCDLoss', groups=5)
