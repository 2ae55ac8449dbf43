"""Masked generation equals the NumPy oracle and MMRazor."""

import catalog
import numpy as np
import oracles
import pytest
import torch
from catalog import make_loss
from mmrazor.models.losses import MGDLoss


def generated(loss, given: dict, seed: int = 5) -> np.ndarray:
    """Output of the generator for the last stage of the student, with the mask that the loss draws for this seed."""
    torch.manual_seed(seed)
    mask = (torch.rand(2, 1, 4, 5) <= 1 - loss.mask_ratio).double().numpy()
    weights = [parameter.detach().numpy() for parameter in loss.generator.parameters()]
    images = []
    for stage, kept in zip(given['stage_S'].detach().numpy(), mask):
        images.append(oracles.adapted(kept * oracles.convolved(stage, *weights[:2]), weights[2:]))
    return np.array(images)


def test_masked_generation_equals_the_oracle(given):
    loss = make_loss('MGDLoss', weight=3).double()
    stage_T = given['stage_T'].numpy()
    expected = 3 * oracles.mean_square(generated(loss, given), stage_T) * stage_T[0].size
    assert catalog.value(loss, given).item() == pytest.approx(expected)


def test_masked_generation_equals_mmrazors_mgd_loss(given):
    loss = make_loss('MGDLoss').double()
    torch.manual_seed(5)
    expected = MGDLoss()(loss.generator(given['stage_S']), given['stage_T'])
    torch.testing.assert_close(catalog.value(loss, given), expected)


def test_three_quarters_of_the_positions_are_masked():
    loss = make_loss('MGDLoss')
    loss.generator.align = loss.generator.generation = torch.nn.Identity()
    kept = loss.generator(torch.ones(1, 1, 200, 200)).mean()
    assert kept.item() == pytest.approx(0.25, abs=0.01)
