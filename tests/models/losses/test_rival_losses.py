"""The losses of the other methods equal the NumPy oracles, and the particular properties of each method hold."""

import copy

import catalogue
import numpy as np
import oracles
import pytest
import torch
import torch.nn.functional as F
from catalogue import make_loss
from mmrazor.models.losses import ATLoss, DISTLoss, KLDivergence, L2Loss, MGDLoss

from mmseg_bpkd.models.losses.afdcd import dense_contrast
from mmseg_bpkd.models.losses.cirkd import pooled
from mmseg_bpkd.models.losses.class_memory import ClassMemory, class_embeddings
from mmseg_bpkd.models.losses.critic import Critic
from mmseg_bpkd.models.losses.dist import column_correlation
from mmseg_bpkd.models.losses.functional import class_maps


@pytest.fixture
def given() -> dict:
    return catalogue.records()


def arrays(given: dict, *names: str) -> list:
    return [given[name].numpy() for name in names]


def terms(loss, given: dict, seed: int = 5) -> dict:
    torch.manual_seed(seed)
    return {name: value.item() for name, value in loss.terms(**catalogue.arguments(loss, given)).items()}


# KD: its norms, and the corresponding losses of MMRazor and MMSegmentation


def test_every_norm_of_pixel_wise_kd_equals_the_oracle(given):
    preds_S, preds_T = arrays(given, 'preds_S', 'preds_T')
    per_pixel = oracles.pixel_wise(preds_S, preds_T, 2)
    pixels = [image[:, y, x] for image in preds_T for y in range(4) for x in range(5)]
    entropy = np.mean([oracles.entropy(pixel, 2) for pixel in pixels])
    for settings, expected in (
        (dict(norm='pixels'), per_pixel),
        (dict(norm='elements'), per_pixel / 3),
        (dict(norm='positions'), 2 * per_pixel),
        (dict(norm='positions', cross_entropy=True), 2 * (per_pixel + entropy)),
    ):
        loss = make_loss('KDLoss', weight=7, tau=2, **settings)
        assert catalogue.value(loss, given).item() == pytest.approx(7 * expected)


def test_kd_over_elements_equals_torchs_kl_div_loss_and_over_positions_equals_soft_cross_entropy(given):
    log_S, p_T = given['preds_S'].log_softmax(1), given['preds_T'].softmax(1)
    torch.testing.assert_close(
        catalogue.value(make_loss('KDLoss', norm='elements'), given), torch.nn.KLDivLoss()(log_S, p_T)
    )
    soft = F.cross_entropy(given['preds_S'], p_T, reduction='sum') / 20
    loss = make_loss('KDLoss', norm='positions', cross_entropy=True)
    torch.testing.assert_close(catalogue.value(loss, given), soft)


def test_an_unknown_norm_is_refused_and_the_error_lists_the_norms():
    with pytest.raises(ValueError, match=r"norm must be one of .*'images'"):
        make_loss('KDLoss', norm='images')


def test_mmrazors_kl_divergence_grows_with_the_size_of_the_map_and_ours_does_not(given):
    twice = {key: x.repeat(1, 1, 2, 2) for key, x in given.items() if 'preds' in key}
    theirs, ours = KLDivergence(), make_loss('KDLoss')
    before, after = (theirs(x['preds_S'], x['preds_T']) for x in (given, twice))
    torch.testing.assert_close(after, 4 * before)
    torch.testing.assert_close(ours(**twice), ours(given['preds_S'], given['preds_T']))


def test_mmsegs_kl_div_loss_is_not_zero_for_equal_logits_and_ours_is(given):
    from mmseg.models.losses.kldiv_loss import KLDivLoss

    preds = given['preds_T']
    assert KLDivLoss()(preds, preds).abs().max() > 1e-3 and make_loss('KDLoss')(preds, preds).abs() < 1e-12


# Features: FitNets, attention transfer


def test_fitnet_equals_the_oracle_and_mmrazors_l2_loss(given):
    loss = make_loss('FitNetLoss', weight=3)
    taken = catalogue.arguments(loss, given)
    value = loss(**taken)
    assert value.item() == pytest.approx(3 * oracles.mean_square(taken['feats_S'].numpy(), taken['feats_T'].numpy()))
    theirs = L2Loss(3, normalize=False, div_element=True)
    torch.testing.assert_close(value, theirs(taken['feats_S'], taken['feats_T']))


def test_attention_transfer_and_mmrazors_equal_the_oracle(given):
    expected = np.mean(
        [
            oracles.mean_square(*(np.array(oracles.attention(image)) for image in pair))
            for pair in zip(*arrays(given, 'feats_S', 'feats_T'))
        ]
    )
    assert catalogue.value(make_loss('ATLoss', weight=3), given).item() == pytest.approx(3 * expected)
    assert ATLoss(3)(given['feats_S'], given['feats_T']).item() == pytest.approx(3 * expected)


# Relations within an image: local affinity, the pair-wise term of SKDS, IFVD


def test_local_affinity_equals_the_oracle(given):
    maps = [[oracles.inconsistency(image) for image in preds] for preds in arrays(given, 'preds_S', 'preds_T')]
    expected = oracles.mean_square(*np.array(maps))
    assert catalogue.value(make_loss('LocalAffinityLoss', weight=3), given).item() == pytest.approx(3 * expected)


def test_local_affinity_and_its_gradient_are_zero_for_a_single_pixel():
    preds = torch.randn(1, 3, 1, 1, requires_grad=True)
    value = make_loss('LocalAffinityLoss')(preds, torch.randn(1, 3, 1, 1))
    value.backward()
    assert value.item() == 0 and preds.grad.abs().sum() == 0


@pytest.mark.parametrize(('kernel', 'window'), [(2, (2, 2)), (0.5, (2, 2)), (0.8, (3, 4)), (9, (4, 5))])
def test_pair_wise_distillation_equals_the_oracle(given, kernel, window):
    expected = np.mean(
        [
            oracles.mean_square(*(oracles.affinity(image, *window) for image in pair))
            for pair in zip(*arrays(given, 'feats_S', 'feats_T'))
        ]
    )
    value = catalogue.value(make_loss('SKDSPairLoss', weight=3, kernel=kernel), given)
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
    (grad,) = torch.autograd.grad(catalogue.value(loss, given), feats_S)
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


def test_intra_class_variation_equals_the_oracle(given):
    expected = oracles.intra_class(*arrays(given, 'feats_S', 'feats_T', 'gt'))
    assert catalogue.value(make_loss('IFVDLoss', weight=3), given).item() == pytest.approx(3 * expected)


# DIST


@pytest.mark.parametrize('tau', [1.0, 4.0])
def test_dist_equals_the_oracle(given, tau):
    inter, intra = oracles.pearson(*arrays(given, 'preds_S', 'preds_T'), tau)
    assert terms(make_loss('DISTLoss', inter_weight=3, intra_weight=5, tau=tau), given) == pytest.approx(
        dict(inter=3 * tau**2 * inter, intra=5 * tau**2 * intra)
    )


def intra_gradients(correlations, given: dict) -> list:
    """Length of the gradient of the logits of each class, for the mean of `correlations` over the classes."""
    preds_S = given['preds_S'].detach().requires_grad_()
    rows = [x.softmax(1).movedim(1, 3).flatten(0, 2) for x in (preds_S, given['preds_T'])]
    (grad,) = torch.autograd.grad(correlations(*rows).mean(), preds_S)
    return grad.movedim(1, 0).flatten(1).norm(dim=1).tolist()


def test_the_gradient_of_dist_equals_differences_of_the_oracle_and_fades_for_an_absent_class(given):
    """Class 2 is absent: its mean probability is 1e-8. With a lower bound of each norm, it weighs as much as others."""
    for side in 'ST':
        given[f'preds_{side}'][:, 2] -= 18
        assert given[f'preds_{side}'].softmax(1)[:, 2].mean() < 1e-6
    preds_S, preds_T = arrays(given, 'preds_S', 'preds_T')
    expected = np.zeros_like(preds_S)
    for place in np.ndindex(preds_S.shape):
        values = []
        for step in (1e-4, -1e-4):
            moved = preds_S.copy()
            moved[place] += step
            values.append(sum(oracles.pearson(moved, preds_T, 1)))
        expected[place] = (values[0] - values[1]) / 2e-4
    moved = given['preds_S'].detach().requires_grad_()
    (grad,) = torch.autograd.grad(make_loss('DISTLoss')(moved, given['preds_T']), moved)
    np.testing.assert_allclose(grad.numpy(), expected, atol=1e-7)

    ours = intra_gradients(column_correlation, given)
    bounded = intra_gradients(lambda a, b: F.cosine_similarity(a - a.mean(0), b - b.mean(0), dim=0, eps=1e-8), given)
    assert ours[2] < 1e-5 * ours[0] and bounded[2] > 0.3 * bounded[0]


def test_dist_and_its_gradient_are_almost_zero_for_equal_and_confident_predictions(given):
    """Not exactly: the epsilon makes the correlation of equal rows a little less than 1, more so if it is small."""
    preds_T = 10 * given['preds_T']
    preds_S = preds_T.clone().requires_grad_()
    value = make_loss('DISTLoss')(preds_S, preds_T)
    (grad,) = torch.autograd.grad(value, preds_S)
    assert abs(value.item()) < 1e-5 and grad.abs().max() < 1e-5


def test_mmrazors_dist_equals_ours_on_rows_of_pixels_but_not_on_maps(given):
    rows = [given[key].movedim(1, 3).flatten(0, 2) for key in ('preds_S', 'preds_T')]
    ours = catalogue.value(make_loss('DISTLoss'), given).item()
    assert DISTLoss()(*rows).item() == pytest.approx(ours, rel=1e-3)  # the two epsilons differ
    assert DISTLoss()(given['preds_S'], given['preds_T']).item() != pytest.approx(ours, rel=0.05)


# Masked generation: MGD, Af-DCD


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
    assert catalogue.value(loss, given).item() == pytest.approx(expected)


def test_masked_generation_equals_mmrazors_mgd_loss(given):
    loss = make_loss('MGDLoss').double()
    torch.manual_seed(5)
    expected = MGDLoss()(loss.generator(given['stage_S']), given['stage_T'])
    torch.testing.assert_close(catalogue.value(loss, given), expected)


def test_three_quarters_of_the_positions_are_masked():
    loss = make_loss('MGDLoss')
    loss.generator.align = loss.generator.generation = torch.nn.Identity()
    kept = loss.generator(torch.ones(1, 1, 200, 200)).mean()
    assert kept.item() == pytest.approx(0.25, abs=0.01)


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


# APD


def test_adaptive_perspective_equals_the_oracle(given):
    given['gt'][given['gt'] == 2] = oracles.VOID  # so that class 2 does not occur
    loss = make_loss('APDLoss', map_weight=3, center_weight=5).double()
    adapted = []
    for side in 'ST':
        weights = [parameter.detach().numpy() for parameter in getattr(loss, f'adaptor_{side}').parameters()]
        adapted.append(np.array([oracles.adapted(image, weights) for image in given[f'feats_{side}'].numpy()]))
    map_, centre, teacher = oracles.adaptive_perspective(*adapted, given['gt'].numpy(), 3)
    assert terms(loss, given) == pytest.approx(dict(map=3 * map_, centre=5 * centre, teacher=teacher))


def test_each_adaptor_gets_gradients_only_from_its_own_terms(given):
    loss = make_loss('APDLoss').double()
    parts = loss.terms(**catalogue.arguments(loss, given))
    (parts['map'] + parts['centre']).backward(retain_graph=True)
    assert all(parameter.grad is None for parameter in loss.adaptor_T.parameters())
    loss.zero_grad()
    parts['teacher'].backward()
    assert all(parameter.grad is None for parameter in loss.adaptor_S.parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in loss.adaptor_T.parameters())


# CIRKD


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


def entries(*values) -> tuple:
    """Vectors of one image with two classes, and whether each exists; nan marks one that does not."""
    vectors = torch.tensor(values)[None, :, :, None]
    return vectors.nan_to_num(), ~vectors[..., 0].isnan()


NONE = float('nan')


def test_a_full_memory_replaces_its_oldest_entries_and_absent_classes_keep_theirs():
    memory = ClassMemory(2, size=3, width=1)
    memory.add(*entries([1.0, 2.0], [NONE, 9.0]))
    memory.add(*entries([3.0, 4.0], [NONE, NONE]))
    assert memory.vectors[:, :, 0].tolist() == [[4, 2, 3], [9, 0, 0]] and memory.written.tolist() == [4, 1]
    memory.add(*entries([5.0, 6.0, 7.0, 8.0, 10.0], [NONE] * 5))  # more entries than the memory has places
    assert sorted(memory.vectors[0, :, 0].tolist()) == [7, 8, 10] and memory.written.tolist() == [9, 1]
    memory.add(*entries([11.0], [NONE]))
    assert sorted(memory.vectors[0, :, 0].tolist()) == [8, 10, 11]


def test_only_written_entries_are_drawn_and_each_at_most_once():
    memory = ClassMemory(2, size=8, width=1)
    assert memory.draw(4).shape == (0, 1)
    memory.add(*entries([1.0, 2.0, 3.0, 4.0, 5.0], [9.0, NONE, NONE, NONE, NONE]))
    for _ in range(20):
        drawn = memory.draw(4)[:, 0].tolist()
        assert len(drawn) == 5 and len(set(drawn)) == 5 and 9 in drawn and set(drawn) <= {1, 2, 3, 4, 5, 9}
    everything = torch.cat([memory.draw(4)[:4, 0] for _ in range(100)])
    assert set(everything.tolist()) == {1, 2, 3, 4, 5}  # a random subset each time


def test_the_given_number_of_pixels_per_class_is_drawn_or_all_if_there_are_fewer(given):
    maps = class_maps(given['gt'], 3, (4, 5))
    seen = torch.zeros(maps.shape[2])
    for _ in range(60):
        (vectors, exists), (_, has_mean) = class_embeddings(given['feats_T'], maps, 4)
        assert exists.sum(2).tolist() == maps.sum(2).clamp(max=4).tolist() and vectors.shape == (2, 3, 4, 6)
        assert torch.equal(has_mean[..., 0], maps.any(2))
        units = F.normalize(given['feats_T'][0].flatten(1), dim=0).t()
        drawn = (vectors[0, 1][:, None] == units).all(2).any(0)
        assert drawn.sum() == 4 and not (drawn & ~maps[0, 1]).any()
        seen += drawn
    assert (seen[maps[0, 1]] > 0).all()  # every pixel can be drawn


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


def test_a_memory_of_size_zero_is_refused():
    with pytest.raises(ValueError, match='at least one vector per class, got 0'):
        make_loss('CIRKDLoss', region_memory=0)


# The critic of SKDS and IFVD


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
    """The sum of the scores, which SKDS penalises, has slope 1 only with one score, as on SKDS's maps of 65x65."""
    adversary.critic = PatchCritic()
    preds = torch.randn(2, 3, 64, width, dtype=torch.float64)
    assert adversary.critic(preds).shape == (2, width // 64)
    assert adversary.terms(preds, preds + 1)['penalty'].item() == pytest.approx(0, abs=1e-12)


def test_the_critic_has_one_score_on_maps_of_skds_and_five_on_those_of_cirkd():
    critic = Critic(3, width=8)
    assert critic(torch.zeros(1, 3, 65, 65)).numel() == critic(torch.zeros(1, 3, 79, 79)).numel() == 1
    assert critic(torch.zeros(1, 3, 64, 128)).numel() == 5


def test_gradient_of_the_student_is_reversed_and_scaled(adversary, given):
    """The critic minimises the loss, while the student maximises its score."""
    preds_S = given['preds_S'].requires_grad_()
    (score,) = torch.autograd.grad(adversary.critic(preds_S).mean(), preds_S)
    (grad,) = torch.autograd.grad(catalogue.value(adversary, given), preds_S)
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
    """Like `catalogue.value`, but without a copy, so that the parameters of `loss` get gradients."""
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
    torch.testing.assert_close(catalogue.value(duplicate, given), catalogue.value(loss, given))


def test_a_critic_weight_of_zero_is_refused():
    with pytest.raises(ValueError, match='critic_weight must be positive.*0'):
        make_loss('SKDSCriticLoss', critic_weight=0)
