"""Both terms of BPKD equal the NumPy oracles and tests/reference.py, with every option."""

import catalog
import numpy as np
import oracles
import pytest
import reference
import torch
from catalog import TOLERANCE, assert_equals, blocks, make_loss, scene, value_and_gradient
from mmengine.registry import MODELS

from mmseg_bpkd.models.losses import BPKDLoss
from mmseg_bpkd.ops.boundary import edge_masks


@pytest.mark.parametrize('dtype', TOLERANCE)
@pytest.mark.parametrize('kind', ['regions', 'no edges', 'all void'])
@pytest.mark.parametrize(
    ('num_classes', 'size', 'stride'),
    [
        (2, (8, 8), 8),
        (3, (5, 7), 8),
        (19, (9, 13), 4),
        (31, (8, 8), 4),
        (32, (8, 9), 4),
        (150, (12, 12), 8),
        (256, (7, 9), 8),
    ],
)
def test_bpkd_equals_the_reference(num_classes, size, stride, kind, dtype):
    preds_S, preds_T, gt = blocks(num_classes, size, stride, dtype, kind)
    ignore_index = oracles.VOID if num_classes <= oracles.VOID else -1
    loss = BPKDLoss(edge_weight=20, body_weight=5, ignore_index=ignore_index)
    fast = value_and_gradient(loss(preds_S, preds_T, gt), preds_S)
    slow = value_and_gradient(
        20 * reference.bpkd_edge(preds_S, preds_T, gt, ignore_index=ignore_index)
        + 5 * reference.bpkd_body(preds_S, preds_T, gt, ignore_index=ignore_index),
        preds_S,
    )
    for ours, theirs in zip(fast, slow):
        torch.testing.assert_close(ours, theirs, **TOLERANCE[dtype])
    assert slow[1].abs().max() > 0


@pytest.mark.parametrize('num_classes', [19, 40])
def test_bpkd_equals_the_reference_if_one_image_has_all_classes_and_the_other_three(num_classes):
    preds_S, preds_T, gt = blocks(num_classes, (9, 12), 8, torch.float64)
    gt[0, :60, :60] = torch.arange(100).view(10, 10).repeat_interleave(6, 0).repeat_interleave(6, 1) % num_classes
    gt[1] = num_classes - 1 - gt[1] % 3
    assert len(gt[0].unique()) >= num_classes and len(gt[1].unique()) <= 3
    fast = value_and_gradient(BPKDLoss(edge_weight=20, body_weight=5)(preds_S, preds_T, gt), preds_S)
    slow = value_and_gradient(
        20 * reference.bpkd_edge(preds_S, preds_T, gt) + 5 * reference.bpkd_body(preds_S, preds_T, gt), preds_S
    )
    for ours, theirs in zip(fast, slow):
        torch.testing.assert_close(ours, theirs, **TOLERANCE[torch.float64])


@pytest.mark.parametrize('alpha', [1.0, [0.5, 1.0, 3.0]])
@pytest.mark.parametrize('norm', ['class', 'paper', 'mean', 'edge'])
@pytest.mark.parametrize('pre_mask', ['suppress', 'multiply', False])
@pytest.mark.parametrize('post_mask', [True, False])
def test_edge_term_equals_the_oracle_with_every_option(post_mask, pre_mask, norm, alpha):
    preds_S, preds_T, gt = scene()
    loss = BPKDLoss(7, 0, alpha, 3, tau_edge=2, edge_norm=norm, pre_mask=pre_mask, post_mask=post_mask)
    masks = oracles.edge_masks(gt.numpy(), 3, (4, 5), 3)
    expected = 7 * oracles.bpkd_edge(
        preds_S.numpy(), preds_T.numpy(), masks, np.broadcast_to(alpha, 3), 2, norm, pre_mask, post_mask
    )
    terms = loss.terms(preds_S, preds_T, gt)
    assert list(terms) == ['edge'] and expected > 0
    assert terms['edge'].item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ('body_over', 'oracle'), [('positions', oracles.channel_wise), ('classes', oracles.pixel_wise)]
)
def test_body_term_equals_the_oracle(body_over, oracle):
    preds_S, preds_T, gt = scene()
    rest = 1 - oracles.edge_masks(gt.numpy(), 3, (4, 5), 3)
    terms = BPKDLoss(0, 7, kernel_size=3, tau_body=2, body_over=body_over).terms(preds_S, preds_T, gt)
    assert list(terms) == ['body']
    expected = 7 * oracle(preds_S.numpy() * rest, preds_T.numpy() * rest, 2)
    assert terms['body'].item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize('tau', [1, 4])
@pytest.mark.parametrize('body_mask', ['remove', 'binary_remove'])
def test_body_term_without_the_edges_equals_the_oracle(body_mask, tau):
    """The first class of the second image has an edge everywhere: its term is 0."""
    preds_S, preds_T, gt = scene(requires_grad=True)
    gt[1] = torch.arange(gt.shape[2]) % 2
    masks = oracles.edge_masks(gt.numpy(), 3, (4, 5), 3)
    assert ((masks > 0) & (masks < 1)).any() and (masks[1, 0] == 1).all()
    rest = 1.0 * (masks == 0) if body_mask == 'binary_remove' else 1 - masks
    term = BPKDLoss(0, 7, kernel_size=3, tau_body=tau, body_mask=body_mask).terms(preds_S, preds_T, gt)['body']
    expected = 7 * oracles.channel_wise_of_some(preds_S.detach().numpy(), preds_T.numpy(), rest, tau)
    assert expected > 0 and term.item() == pytest.approx(expected, rel=1e-6)
    term.backward()
    gradient = preds_S.grad.numpy()
    assert np.abs(gradient[rest == 0]).max() == 0 < np.abs(gradient[rest > 0]).max()


@pytest.mark.parametrize(
    ('body_over', 'oracle'), [('positions', oracles.channel_wise), ('classes', oracles.pixel_wise)]
)
def test_body_term_with_a_binary_mask_equals_the_oracle(body_over, oracle):
    preds_S, preds_T, gt = scene()
    rest = 1.0 * (oracles.edge_masks(gt.numpy(), 3, (4, 5), 3) == 0)
    loss = BPKDLoss(0, 7, kernel_size=3, tau_body=2, body_over=body_over, body_mask='binary')
    expected = 7 * oracle(preds_S.numpy() * rest, preds_T.numpy() * rest, 2)
    assert loss.terms(preds_S, preds_T, gt)['body'].item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize('body_mask', ['remove', 'binary_remove'])
def test_removing_the_edges_from_a_softmax_over_classes_is_refused(body_mask):
    with pytest.raises(ValueError, match=f"body_mask='{body_mask}' needs body_over='positions'"):
        BPKDLoss(body_over='classes', body_mask=body_mask)


def test_suppressing_classes_ignores_their_logits_and_a_shift_of_all_logits():
    preds_S, preds_T, gt = scene()
    gt.clamp_(max=1)  # the third class has no edge
    loss = BPKDLoss(1, 0, kernel_size=3, pre_mask='suppress')
    before = loss(preds_S, preds_T, gt)
    assert before > 0
    shifted = preds_S + 2
    shifted[:, 2] += 5
    torch.testing.assert_close(loss(shifted, preds_T, gt), before)
    assert loss(preds_T + 2, preds_T, gt) < 1e-12 < BPKDLoss(1, 0, kernel_size=3)(preds_T + 2, preds_T, gt)


def test_edge_term_over_the_suppressed_positions_equals_the_oracle():
    preds_S, preds_T, gt = scene()
    kept = 1.0 * (oracles.edge_masks(gt.numpy(), 3, (4, 5), 3) > 0)
    loss = BPKDLoss(7, 0, kernel_size=3, edge_over='positions', pre_mask='suppress')
    expected = 7 * oracles.channel_wise_of_some(preds_S.numpy(), preds_T.numpy(), kept, 1)
    assert loss.terms(preds_S, preds_T, gt)['edge'].item() == pytest.approx(expected, rel=1e-6)


def test_class_weights_by_area_follow_the_edges_seen_so_far():
    torch.manual_seed(1)
    preds_S, preds_T = torch.randn(2, 2, 4, 4, 5, dtype=torch.float64)  # the fourth class does not occur
    loss = BPKDLoss(7, 0, 'inverse_sqrt_area', kernel_size=3, edge_norm='edge')
    loss.build_layers(num_classes=4)
    areas = np.zeros(4)
    for _ in range(2):
        gt = scene()[2].roll(1, 2)
        masks = oracles.edge_masks(gt.numpy(), 4, (4, 5), 3)
        areas += [masks[:, c].sum() for c in range(4)]
        alpha = [1 / area**0.5 if area else 0 for area in areas]
        alpha = np.array(alpha) / (sum(alpha) / 3)  # mean 1 over the three classes that occur
        expected = 7 * oracles.bpkd_edge(preds_S.numpy(), preds_T.numpy(), masks, alpha, norm='edge')
        assert loss(preds_S, preds_T, gt).item() == pytest.approx(expected, rel=1e-6)
    assert len(set(alpha)) == 4
    resumed = BPKDLoss(7, 0, 'inverse_sqrt_area', kernel_size=3, edge_norm='edge')
    resumed.build_layers(num_classes=4)
    resumed.load_state_dict(loss.state_dict())
    assert resumed.eval()(preds_S, preds_T, gt).item() == loss.eval()(preds_S, preds_T, gt).item()


def test_edges_of_the_teacher_are_those_of_its_prediction():
    preds_S, preds_T, gt = scene()
    prediction = torch.nn.functional.interpolate(preds_T, gt.shape[1:], mode='bilinear').argmax(1)
    from_teacher = BPKDLoss(kernel_size=3, edges='teacher')
    void = torch.full_like(gt, oracles.VOID)
    torch.testing.assert_close(
        from_teacher(preds_S, preds_T, void), BPKDLoss(kernel_size=3)(preds_S, preds_T, prediction)
    )


def test_random_edges_keep_the_values_of_the_masks_and_not_their_place():
    _preds_S, preds_T, gt = scene()
    loss = BPKDLoss(kernel_size=3, edges='random')
    at_edges = edge_masks(gt, 3, (4, 5), 3).flatten(2)
    torch.manual_seed(0)
    random = loss._masks(preds_T, gt).flatten(2).float()
    assert not torch.equal(random, at_edges)
    for i in range(2):
        assert sorted(random[i].T.tolist()) == sorted(at_edges[i].T.tolist())


def test_edge_term_over_positions_equals_the_oracle():
    preds_S, preds_T, gt = scene()
    masks = oracles.edge_masks(gt.numpy(), 3, (4, 5), 3)
    term = BPKDLoss(7, 0, kernel_size=3, edge_over='positions').terms(preds_S, preds_T, gt)['edge']
    expected = 7 * oracles.channel_wise(preds_S.numpy() * masks, preds_T.numpy() * masks, 1)
    assert term.item() == pytest.approx(expected, rel=1e-6)


def test_forward_returns_the_sum_of_the_terms():
    args = scene()
    loss = BPKDLoss()
    assert loss(*args).item() == pytest.approx(sum(term.item() for term in loss.terms(*args).values()))


def test_weights_of_zero_give_a_loss_and_a_gradient_of_zero():
    preds_S, preds_T, gt = scene(requires_grad=True)
    value = BPKDLoss(0, 0)(preds_S, preds_T, gt)
    value.backward()
    assert value.item() == 0 and preds_S.grad.abs().sum() == 0


def test_default_norm_does_not_depend_on_the_crop_size():
    """Repeating the logits and the label side by side does not change the loss."""
    preds_S, preds_T, _ = scene()
    gt = torch.zeros(2, 8, 10, dtype=torch.long)
    gt[:, 4:] = 1
    loss = BPKDLoss(1, 0, kernel_size=5)
    twice = [x.repeat(1, 1, 1, 2) for x in (preds_S, preds_T)]
    torch.testing.assert_close(loss(*twice, gt.repeat(1, 1, 2)), loss(preds_S, preds_T, gt))


@pytest.mark.parametrize('fill', [1, oracles.VOID])
@pytest.mark.parametrize(
    'options',
    [
        {},
        dict(pre_mask='suppress'),
        dict(pre_mask=False),
        dict(post_mask=False),
        dict(edge_norm='paper'),
        dict(edge_norm='mean'),
        dict(edge_norm='edge', class_weight=9),
    ],
)
def test_edge_term_and_its_gradient_are_exactly_zero_if_there_are_no_edges(options, fill):
    preds_S, preds_T, gt = scene(requires_grad=True)
    value = BPKDLoss(1, 0, **options)(preds_S, preds_T, gt.fill_(fill))
    value.backward()
    assert value.item() == 0 and preds_S.grad.abs().sum() == 0


@pytest.mark.parametrize(
    'options',
    [
        {},
        dict(pre_mask='suppress'),
        dict(pre_mask=False),
        dict(post_mask=False),
        dict(edge_norm='paper'),
        dict(edge_norm='mean'),
        dict(edge_norm='edge'),
        dict(edge_over='positions'),
        dict(edge_over='positions', pre_mask='suppress'),
    ],
)
def test_void_cells_do_not_change_the_edge_term(options):
    preds_S, preds_T, gt = scene()
    loss = BPKDLoss(1, 0, kernel_size=3, **options)
    before = loss(preds_S, preds_T, gt)
    preds_S[:, :, 0, 0] += 100  # the cell of the 2x2 void pixels
    assert before > 0
    torch.testing.assert_close(loss(preds_S, preds_T, gt), before)


@pytest.mark.parametrize(
    ('argument', 'value'),
    [
        ('edge_norm', 'image'),
        ('edge_over', 'pixels'),
        ('body_over', 'pixels'),
        ('body_mask', 'soft'),
        ('edges', 'student'),
        ('pre_mask', True),
    ],
)
def test_an_unknown_choice_is_refused_and_the_error_lists_the_choices(argument, value):
    with pytest.raises(ValueError, match=f'{argument} must be one of .*{value!r}'):
        BPKDLoss(**{argument: value})


def test_class_weights_for_a_wrong_number_of_classes_are_refused():
    with pytest.raises(ValueError, match='class_weight has 2 values for 3 classes'):
        BPKDLoss(class_weight=[1.0, 2.0])(*scene())


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(edge_over='positions', pre_mask=False), 'pre_mask'),
        (dict(edges='teacher', void_edges=True), 'predictions have no void'),
        (dict(class_weight='rare'), "class_weight must be numbers or 'inverse_sqrt_area', got 'rare'"),
    ],
)
def test_options_that_exclude_each_other_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        BPKDLoss(**options)


def test_unknown_arguments_and_losses_are_refused():
    with pytest.raises(TypeError, match='kernel'):
        MODELS.build(dict(type='BPKDLoss', kernel=7))
    with pytest.raises(KeyError, match='BPKLoss'):
        MODELS.build(dict(type='BPKLoss'))


def test_errors_at_a_boundary_count_in_the_edge_term_and_others_in_the_body_term():
    gt = torch.zeros(1, 32, 32, dtype=torch.long)
    gt[:, :, 16:] = 1
    preds_T = torch.zeros(1, 2, 32, 32)
    at_boundary, inside = preds_T.clone(), preds_T.clone()
    at_boundary[:, 0, 8, 15:17] = 5
    inside[:, 0, 8, 3:5] = 5
    loss = BPKDLoss()
    assert edge_masks(gt, 2, (32, 32)).sum() == 2 * 6 * 32
    terms = loss.terms(at_boundary, preds_T, gt)
    assert terms['edge'] > 0 and terms['body'] == 0
    terms = loss.terms(inside, preds_T, gt)
    assert terms['edge'] == 0 and terms['body'] > 0


@pytest.mark.parametrize('body_over', ['positions', 'classes'])
@pytest.mark.parametrize(
    'options',
    [
        {},
        dict(tau_edge=3),
        dict(kernel_size=4),
        dict(void_edges=True),
        dict(edge_norm='paper'),
        dict(post_mask=False),
        dict(pre_mask=False),
        dict(pre_mask='suppress', edge_norm='mean'),
        dict(edge_norm='edge'),
        dict(class_weight=[1 + 0.1 * c for c in range(40)]),
        dict(edge_over='positions'),
    ],
    ids=str,
)
def test_both_terms_equal_the_oracles_if_few_of_many_classes_are_present(options, body_over):
    """On a CPU, edge masks are computed only for classes that occur. The two images contain different classes."""
    _, _, gt = scene()
    gt = torch.where(gt == oracles.VOID, gt, 7 * gt + 5)
    gt[1, :, 7] = 33
    preds_S, preds_T = torch.randn(2, 2, 40, 4, 5, dtype=torch.float64)
    options = {'kernel_size': 3, **options}
    terms = BPKDLoss(7, 5, tau_body=2, body_over=body_over, **options).terms(preds_S, preds_T, gt)
    masks = oracles.edge_masks(gt.numpy(), 40, (4, 5), options['kernel_size'], options.get('void_edges', False))
    S, T = preds_S.numpy(), preds_T.numpy()
    if 'edge_over' in options:
        edge = oracles.channel_wise(S * masks, T * masks, 1)
    else:
        edge = oracles.bpkd_edge(
            S,
            T,
            masks,
            np.broadcast_to(options.get('class_weight', 1), 40),
            options.get('tau_edge', 1),
            options.get('edge_norm', 'class'),
            options.get('pre_mask', 'multiply'),
            options.get('post_mask', True),
        )
    body_oracle = oracles.channel_wise if body_over == 'positions' else oracles.pixel_wise
    body = body_oracle(S * (1 - masks), T * (1 - masks), 2)
    assert edge > 0 and terms['edge'].item() == pytest.approx(7 * edge, rel=1e-6)
    assert terms['body'].item() == pytest.approx(5 * body, rel=1e-6)


@pytest.mark.parametrize('pre_mask', ['suppress', 'multiply', False])
def test_bpkd_masks_the_standardized_logits_and_keeps_its_body_term(given, pre_mask):
    loss = make_loss(
        'BPKDLoss', edge_weight=7, body_weight=3, kernel_size=3, tau_edge=2, pre_mask=pre_mask, standardize=True
    )
    masks = oracles.edge_masks(given['gt'].numpy(), 3, (4, 5), 3)
    preds_T = given['preds_T'].numpy()
    standard_T = oracles.standardized(preds_T)

    def expected(preds_S):
        edge = oracles.bpkd_edge(oracles.standardized(preds_S), standard_T, masks, [1, 1, 1], 2, pre_mask=pre_mask)
        return 7 * edge + 3 * oracles.channel_wise(preds_S * (1 - masks), preds_T * (1 - masks), 1)

    assert_equals(loss, catalog.arguments(loss, given), expected)


def test_void_cells_do_not_change_the_edge_term_of_standardized_logits(given):
    loss = make_loss('BPKDLoss', body_weight=0, kernel_size=3, standardize=True)
    before = catalog.value(loss, given)
    given['preds_S'][:, 0, 0, 0] += 100  # the cell of the 2x2 void pixels
    assert before > 0
    torch.testing.assert_close(catalog.value(loss, given), before)


def test_standardized_logits_and_a_softmax_over_positions_are_refused():
    with pytest.raises(ValueError, match="standardize=True needs edge_over='classes'"):
        make_loss('BPKDLoss', edge_over='positions', standardize=True)


@pytest.mark.parametrize('num_classes', [9, 19, 150])
@pytest.mark.parametrize('dtype', [torch.uint8, torch.int32, torch.int64])
def test_the_logits_and_the_label_are_not_modified(num_classes, dtype):
    preds_S, preds_T, gt = blocks(num_classes, (9, 13), 4, torch.float32)
    gt = gt.to(dtype)
    before = [x.detach().clone() for x in (preds_S, preds_T, gt)]
    BPKDLoss()(preds_S, preds_T, gt).backward()
    assert all(torch.equal(x, y) for x, y in zip((preds_S, preds_T, gt), before))
