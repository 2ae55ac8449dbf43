"""LSKD, NFD, AICSD, the channel loss of KT and the wavelet loss equal the NumPy oracles, in value and gradient."""

import doctest
from importlib import import_module

import catalogue
import numpy as np
import oracles
import pytest
import torch
from catalogue import make_loss

from mmseg_bpkd.models.losses.aicsd import class_divergences
from mmseg_bpkd.models.losses.functional import standardize_logits
from mmseg_bpkd.models.losses.nfd import normalize_channels
from mmseg_bpkd.models.losses.wavelet import haar_details


@pytest.fixture
def given() -> dict:
    return catalogue.records()


def assert_equals(loss, taken: dict, oracle) -> None:
    """Compares value and gradient of a loss with an oracle, a function of the student's record, as an array."""
    (name,) = (name for name in taken if name.endswith('_S'))
    student = taken[name].clone().requires_grad_()
    value = loss(**{**taken, name: student})
    value.backward()
    array = student.detach().numpy()
    assert value.item() == pytest.approx(oracle(array), rel=1e-9) and value > 0
    np.testing.assert_allclose(student.grad, oracles.numerical_gradient(oracle, array), rtol=1e-5, atol=1e-8)


# LSKD


@pytest.mark.parametrize('tau', [1.0, 2.0])
def test_lskd_equals_the_oracle(given, tau):
    standard_T = oracles.standardized(given['preds_T'].numpy())
    loss = make_loss('KDLoss', weight=9, tau=tau, standardize=True)
    taken = catalogue.arguments(loss, given)
    assert_equals(loss, taken, lambda preds: 9 * oracles.pixel_wise(oracles.standardized(preds), standard_T, tau))


@pytest.mark.parametrize('pre_mask', ['suppress', 'multiply', False])
def test_bpkd_masks_the_standardised_logits_and_keeps_its_body_term(given, pre_mask):
    loss = make_loss(
        'BPKDLoss', edge_weight=7, body_weight=3, kernel_size=3, tau_edge=2, pre_mask=pre_mask, standardize=True
    )
    masks = oracles.edge_masks(given['gt'].numpy(), 3, (4, 5), 3)
    preds_T = given['preds_T'].numpy()
    standard_T = oracles.standardized(preds_T)

    def expected(preds_S):
        edge = oracles.bpkd_edge(oracles.standardized(preds_S), standard_T, masks, [1, 1, 1], 2, pre_mask=pre_mask)
        return 7 * edge + 3 * oracles.channel_wise(preds_S * (1 - masks), preds_T * (1 - masks), 1)

    assert_equals(loss, catalogue.arguments(loss, given), expected)


def test_shift_and_scale_of_the_logits_of_a_pixel_do_not_change_lskd(given):
    loss = make_loss('KDLoss', standardize=True)
    before = catalogue.value(loss, given)
    scale, shift = 1 + torch.rand(2, 2, 1, 4, 5, dtype=torch.float64)
    given['preds_S'] = scale * given['preds_S'] + shift
    torch.testing.assert_close(catalogue.value(loss, given), before, rtol=1e-6, atol=0)


@pytest.mark.parametrize('dtype', [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize('fill', [0.0, 0.1, 30.0])
def test_equal_logits_become_zero_and_get_no_gradient(fill, dtype):
    preds = torch.full((1, 150, 2, 2), fill, dtype=dtype)
    preds[:, 0, 0, 0] += 1  # the only pixel whose logits differ
    preds.requires_grad_()
    standard = standardize_logits(preds)
    (standard * torch.randn_like(standard)).sum().backward()
    assert standard[:, 0, 0, 0] > 1 and preds.grad[..., 0, 0].abs().max() > 0
    for x in (standard, preds.grad):
        assert torch.isfinite(x).all() and x.flatten(2)[..., 1:].abs().max() == 0


def test_void_cells_do_not_change_the_edge_term_of_standardised_logits(given):
    loss = make_loss('BPKDLoss', body_weight=0, kernel_size=3, standardize=True)
    before = catalogue.value(loss, given)
    given['preds_S'][:, 0, 0, 0] += 100  # the cell of the 2x2 void pixels
    assert before > 0
    torch.testing.assert_close(catalogue.value(loss, given), before)


def test_standardised_logits_and_a_softmax_over_positions_are_refused():
    with pytest.raises(ValueError, match="standardize=True needs edge_over='classes'"):
        make_loss('BPKDLoss', edge_over='positions', standardize=True)


# NFD


def test_nfd_equals_the_oracle(given):
    loss = make_loss('NFDLoss', weight=3)
    taken = catalogue.arguments(loss, given)
    assert_equals(loss, taken, lambda feats: 3 * oracles.normalized_features(feats, taken['feats_T'].numpy()))


def test_normalised_channels_equal_torchs_instance_norm():
    feats = 5 + 3 * torch.randn(2, 4, 6, 7)
    torch.testing.assert_close(normalize_channels(feats), torch.nn.functional.instance_norm(feats))


def test_shift_and_scale_of_a_channel_do_not_change_nfd(given):
    loss = make_loss('NFDLoss')
    taken = {name: 10 * feats for name, feats in catalogue.arguments(loss, given).items()}
    scale, shift = 1 + torch.rand(2, 1, 6, 1, 1, dtype=torch.float64)
    changed = dict(taken, feats_S=scale * taken['feats_S'] + shift)
    torch.testing.assert_close(loss(**changed), loss(**taken), rtol=1e-5, atol=0)


# AICSD


@pytest.mark.parametrize('normalize', [False, True])
@pytest.mark.parametrize('tau', [1.0, 3.0])
def test_aicsd_equals_the_oracle(given, tau, normalize):
    loss = make_loss('AICSDLoss', weight=3, tau=tau, normalize=normalize)
    preds_T = given['preds_T'].numpy()
    taken = catalogue.arguments(loss, given)
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


# KT, channel loss


@pytest.mark.parametrize(
    ('settings', 'oracle'),
    [
        (dict(divergence='kl', tau=4.0), lambda s, t: oracles.channel_wise(s, t, 4.0)),
        (dict(divergence='l1'), oracles.unit_l1),
        (dict(divergence='huber', delta=0.3), lambda s, t: oracles.unit_huber(s, t, 0.3)),
        (dict(divergence='huber', delta=1.0), lambda s, t: oracles.unit_huber(s, t, 1.0)),
    ],
    ids=['kl', 'l1', 'huber 0.3', 'huber 1'],
)
def test_every_divergence_of_kt_equals_its_oracle(given, settings, oracle):
    loss = make_loss('KTLoss', weight=3, **settings)
    taken = catalogue.arguments(loss, given)
    assert_equals(loss, taken, lambda feats: 3 * oracle(feats, taken['feats_T'].numpy()))


def test_kt_with_kl_equals_cwd_on_features(given):
    taken = catalogue.arguments(make_loss('KTLoss'), given)
    cwd = make_loss('CWDFeatureLoss', weight=1, tau=4)
    torch.testing.assert_close(make_loss('KTLoss')(**taken), cwd(**taken))


def test_an_unknown_divergence_is_refused_and_the_error_lists_the_divergences():
    with pytest.raises(ValueError, match=r"divergence must be one of .*'mse'"):
        make_loss('KTLoss', divergence='mse')


# Wavelet loss of FreeKD


@pytest.mark.parametrize('levels', [1, 2, 3, 5])
def test_wavelet_loss_equals_the_oracle(given, levels):
    """The map of 4x5 is halved to 2x3, 1x2 and 1x1, so more than three levels change nothing."""
    loss = make_loss('WaveletLoss', detail_weight=3, feature_weight=7, levels=levels)
    taken = catalogue.arguments(loss, given)
    feats_T = taken['feats_T'].numpy()
    assert_equals(
        loss,
        taken,
        lambda feats: 3 * oracles.wavelet_detail(feats, feats_T, levels) + 7 * oracles.mean_square(feats, feats_T),
    )


def test_forward_returns_the_sum_of_the_terms(given):
    loss = make_loss('WaveletLoss')
    taken = catalogue.arguments(loss, given)
    terms = loss.terms(**taken)
    assert list(terms) == ['detail', 'feature']
    torch.testing.assert_close(loss(**taken), sum(terms.values()))


def test_an_edge_has_details_and_a_constant_map_has_none():
    flat = torch.full((1, 1, 4, 4), 3.0)
    edge = flat.clone()
    edge[..., 1:] = 5  # between the two columns of a cell
    assert all(detail.abs().max() == 0 for detail in haar_details(flat, 2))
    (first, _) = haar_details(edge, 2)
    assert first[0, 0].tolist() == [[[0, 0], [0, 0]], [[-2, 0], [-2, 0]], [[0, 0], [0, 0]]]


def test_details_keep_the_energy_of_the_map():
    """The transform is orthonormal: the squares of all coefficients sum to those of the map, without its mean."""
    feats = torch.randn(1, 1, 8, 8, dtype=torch.float64)
    details = haar_details(feats, 3)
    energy = sum(detail.square().sum() for detail in details)
    torch.testing.assert_close(energy, (feats - feats.mean()).square().sum())


def test_a_map_of_one_position_has_no_details():
    feats_S, feats_T = torch.randn(2, 1, 3, 1, 1)
    terms = make_loss('WaveletLoss').terms(feats_S, feats_T)
    assert terms['detail'] == 0 and terms['feature'] > 0


def test_a_transform_without_levels_is_refused():
    with pytest.raises(ValueError, match='levels must be at least 1, got 0'):
        make_loss('WaveletLoss', levels=0)


# All of them

RECENT = [
    'lskd',
    'bpkd with standardised logits',
    'nfd',
    'aicsd',
    'aicsd with normalised rows',
    'kt channel',
    'kt channel, l1',
    'kt channel, huber',
    'wavelet',
]


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize('constant', ['student', 'teacher', 'both'])
@pytest.mark.parametrize('fill', [0.0, 0.1, 30.0])
@pytest.mark.parametrize('name', RECENT)
def test_value_and_gradient_are_finite_for_constant_maps(name, fill, constant, dtype):
    loss, given = catalogue.LOSSES[name](), catalogue.records(dtype)
    for record, x in given.items():
        if record.endswith(dict(student='_S', teacher='_T', both=('_S', '_T'))[constant]):
            x.fill_(fill)
    student = catalogue.student_record(loss, given)
    student.requires_grad_()
    value = catalogue.value(loss, given)
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(student.grad).all()


@pytest.mark.parametrize('name', RECENT)
def test_the_loss_is_a_mean_over_the_images(name, given):
    """So two processes with half of the batch each have the gradient of one."""
    loss = catalogue.LOSSES[name]()
    halves = [{key: x[i : i + 1] for key, x in given.items()} for i in (0, 1)]
    expected = sum(catalogue.value(loss, half) for half in halves) / 2
    torch.testing.assert_close(catalogue.value(loss, given), expected)


@pytest.mark.parametrize('module', ['functional', 'nfd', 'aicsd', 'kt_channel', 'wavelet'])
def test_examples_in_docstrings_print_what_they_say(module):
    results = doctest.testmod(import_module(f'mmseg_bpkd.models.losses.{module}'))
    assert results.attempted > 0 and results.failed == 0
