"""The critic of SKDS and IFVD."""

import torch

from mmseg_bpkd.models.losses.critic import Critic


def test_the_critic_has_one_score_on_maps_of_skds_and_five_on_those_of_cirkd():
    critic = Critic(3, width=8)
    assert critic(torch.zeros(1, 3, 65, 65)).numel() == critic(torch.zeros(1, 3, 79, 79)).numel() == 1
    assert critic(torch.zeros(1, 3, 64, 128)).numel() == 5
