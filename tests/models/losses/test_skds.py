"""The pair-wise and the adversarial term of SKDS equal the NumPy oracles, in value and gradient."""

import copy

import catalog
import numpy as np
import oracles
import pytest
import torch
from catalog import arrays, make_loss, terms

from mmseg_bpkd.models.losses.critic import Critic


@pytest.mark.parametrize(('kernel', 'window'), [(2, (2, 2)), (0.5, (2, 2)), (0.8, (3, 4)), (9, (4, 5))])
def test_pair_wise_distillation_equals_the_oracle(given, kernel, window):
    expected = np.mean(
        [
            oracles.mean_square(*(oracles.affinity(image, *window) for image in pair))
            for pair in zip(*arrays(given, 'feats_S', 'feats_T'))
        ]
    )
    value = catalog.value(make_loss('SKDSPairLoss', weight=3, kernel=kernel), given)
    assert value.item() == pytest.approx(3 * expected, abs=1e-12)


@pytest.mark.parametrize('detach_norm', [False, True])
@pytest.mark.parametrize(('kernel', 'window'), [(1, (1, 1)), (0.5, (2, 2))])
def test_gradient_of_pair_wise_distillation_equals_the_formula(given, kernel, window, detach_norm):
    expected = [
        3 / 2 * oracles.affinity_gradient(*pair, *window, detach_norm)  # mean over two images
        for pair in zip(*arrays(given, 'feats_S', 'feats_T'))
    ]
    feats_S = given['feats_S'].requires_grad_()
    loss = make_loss('SKDSPairLoss', weight=3, kernel=kernel, detach_norm=detach_norm)
    (grad,) = torch.autograd.grad(catalog.value(loss, given), feats_S)
    np.testing.assert_allclose(grad.numpy(), expected, rtol=1e-9, atol=1e-12)


def test_pairs_with_a_detached_norm_have_the_same_value_and_a_longer_gradient_for_similar_features(given):
    """Features after a ReLU have similar directions: most of the gradient of SKDS changes their length."""
    feats_S, feats_T = (given[f'feats_{side}'].abs() for side in 'ST')
    results = []
    for detach_norm in (True, False):
        student = feats_S.clone().requires_grad_()
        value = make_loss('SKDSPairLoss', kernel=0.5, weight=0.5, detach_norm=detach_norm)(student, feats_T)
        results.append((value.item(), torch.autograd.grad(value, student)[0].norm().item()))
    (original, long), (plain, short) = results
    assert original == pytest.approx(plain, rel=1e-12) and long > 1.5 * short


def parts_of(critic: Critic) -> dict:
    def layer(module):
        return module.weight.detach().numpy(), module.bias.detach().numpy()

    norm, *stages, last = critic
    down, attention = [], []
    for stage in stages:
        if hasattr(stage, 'gamma'):
            attention.append([layer(stage.query), layer(stage.key), layer(stage.value), stage.gamma.item()])
        else:
            original = stage[0].parametrizations.weight.original.detach().numpy()
            down.append((original, stage[0].bias.detach().numpy()))
    return dict(norm=layer(norm), down=down, attention=attention, last=layer(last))


@pytest.fixture
def adversary():
    """An adversarial loss with a narrow critic, non-zero attention, and converged spectral norms, in eval mode."""
    loss = make_loss('SKDSCriticLoss', student_weight=0.5, critic_weight=2.0, gradient_penalty=3.0)
    loss.critic = Critic(3, width=8)
    for module in loss.critic:
        if hasattr(module, 'gamma'):
            torch.nn.init.constant_(module.gamma, 0.7)
    loss.double()
    for _ in range(200):
        loss.critic(torch.randn(1, 3, 4, 5, dtype=torch.float64))
    return loss.eval()


def test_critic_and_gradient_penalty_equal_the_oracle(adversary, given):
    parts, (preds_S, preds_T) = parts_of(adversary.critic), arrays(given, 'preds_S', 'preds_T')
    scores = [np.mean([oracles.critic(image, parts) for image in preds]) for preds in (preds_S, preds_T)]
    torch.manual_seed(5)
    shares = torch.rand(2, 1, 1, 1, dtype=torch.float64).numpy()
    norms = []
    for student, teacher, share in zip(preds_S, preds_T, shares):
        between = share * teacher + (1 - share) * student
        slope = np.zeros_like(between)
        for place in np.ndindex(between.shape):
            step = np.zeros_like(between)
            step[place] = 1e-4
            slope[place] = (oracles.critic(between + step, parts) - oracles.critic(between - step, parts)) / 2e-4
        norms.append((slope**2).sum() ** 0.5)
    expected = dict(critic=2 * (scores[0] - scores[1]), penalty=2 * 3 * np.mean([(norm - 1) ** 2 for norm in norms]))
    assert terms(adversary, given) == pytest.approx(expected, rel=1e-4)


def test_gradient_penalty_uses_the_mean_score_if_a_large_map_has_several_scores(adversary):
    preds = torch.randn(1, 3, 64, 96, dtype=torch.float64).requires_grad_()
    scores = adversary.critic(preds)
    (slope,) = torch.autograd.grad(scores.mean(), preds)
    assert scores.numel() == 3
    penalty = adversary.terms(preds, preds)['penalty'].item()
    assert penalty == pytest.approx(2 * 3 * (slope.norm().item() - 1) ** 2)


class PatchCritic(torch.nn.Module):
    """Has one score per 64 columns. The score is linear in its patch, and the mean of the scores has slope 1."""

    def forward(self, preds):
        patches = preds.unflatten(3, (-1, 64))
        size = preds[0].numel()
        return patches.sum((1, 2, 4)) * patches.shape[3] / size**0.5


@pytest.mark.parametrize('width', [64, 128, 320])
def test_penalty_is_zero_if_the_mean_score_has_slope_1_on_a_map_of_any_size(adversary, width):
    """The sum of the scores, which SKDS penalizes, has slope 1 only with one score, as on SKDS's maps of 65x65."""
    adversary.critic = PatchCritic()
    preds = torch.randn(2, 3, 64, width, dtype=torch.float64)
    assert adversary.critic(preds).shape == (2, width // 64)
    assert adversary.terms(preds, preds + 1)['penalty'].item() == pytest.approx(0, abs=1e-12)


def test_gradient_of_the_student_is_reversed_and_scaled(adversary, given):
    """The critic minimizes the loss, while the student maximizes its score."""
    preds_S = given['preds_S'].requires_grad_()
    (score,) = torch.autograd.grad(adversary.critic(preds_S).mean(), preds_S)
    (grad,) = torch.autograd.grad(catalog.value(adversary, given), preds_S)
    torch.testing.assert_close(grad, -0.5 * score)


def test_gradients_of_the_critic_equal_finite_differences(adversary, given):
    """Including the second derivatives of the gradient penalty."""
    names = ['1.0.parametrizations.weight.original', '4.query.weight', '4.gamma', '7.weight']
    parameters = dict(adversary.critic.named_parameters())
    grads = torch.autograd.grad(seeded_value(adversary, given), [parameters[name] for name in names])
    for name, grad in zip(names, grads):
        flat, at = parameters[name].data.view(-1), grad.abs().argmax().item()
        values = []
        for step in (1e-5, -1e-5):
            flat[at] += step
            values.append(seeded_value(adversary, given).item())
            flat[at] -= step
        assert grad.reshape(-1)[at].item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4)


def seeded_value(loss, given):
    """Like `catalog.value`, but without a copy, so that the parameters of `loss` get gradients."""
    torch.manual_seed(5)
    return loss(given['preds_S'], given['preds_T'])


def test_critic_learns_to_separate_the_scores_and_student_learns_to_approach_them(given):
    torch.manual_seed(0)
    loss = make_loss('SKDSCriticLoss', student_weight=1.0, critic_weight=1.0, gradient_penalty=1.0)
    loss.critic = Critic(3, width=8)
    preds_S, preds_T = (given[key].float() for key in ('preds_S', 'preds_T'))
    critic = torch.optim.SGD(loss.parameters(), 0.02)
    before = loss.terms(preds_S, preds_T)['critic'].item()
    for _ in range(20):
        critic.zero_grad()
        loss(preds_S, preds_T).backward()
        critic.step()
    apart = loss.terms(preds_S, preds_T)['critic'].item()
    assert apart < before - 0.1
    preds_S.requires_grad_()
    student = torch.optim.SGD([preds_S], 3.0)
    for _ in range(20):
        student.zero_grad()
        loss(preds_S, preds_T).backward()
        student.step()
    assert loss.terms(preds_S, preds_T)['critic'].item() > apart + 0.1


def test_a_deep_copy_of_the_adversarial_loss_equals_the_original(given):
    loss = make_loss('SKDSCriticLoss').double()
    duplicate = copy.deepcopy(loss)
    assert loss.state_dict().keys() == duplicate.state_dict().keys()
    torch.testing.assert_close(catalog.value(duplicate, given), catalog.value(loss, given))


def test_a_critic_weight_of_zero_is_refused():
    with pytest.raises(ValueError, match='critic_weight must be positive.*0'):
        make_loss('SKDSCriticLoss', critic_weight=0)
