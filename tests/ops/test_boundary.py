import cv2
import numpy as np
import oracles
import pytest
import torch
from oracles import VOID, grid

from mmseg_bpkd.ops import boundary
from mmseg_bpkd.ops.boundary import boundary_band, edge_masks

TWO_CLASSES = """
    0 0 0 1 1
    0 0 0 1 1
    0 0 0 1 1"""
VOID_BETWEEN = """
    0 0 . . 1 1
    0 0 . . 1 1
    0 0 . . 1 1"""
VOID_AT_THE_SIDE = """
    0 0 0 .
    0 0 0 .
    1 1 1 ."""
POLE = """
    0 0 0 0 0 0 0 0
    0 0 0 1 0 0 0 0
    0 0 0 1 0 0 0 0
    0 0 0 1 0 0 0 0
    0 0 0 0 0 0 0 0"""
CORNERS = """
    0 1 0 1
    2 . 2 .
    0 1 0 1"""
ONE_CLASS = """
    2 2 2
    2 2 2"""
ALL_VOID = """
    . . .
    . . ."""
DRAWINGS = [TWO_CLASSES, VOID_BETWEEN, VOID_AT_THE_SIDE, POLE, CORNERS, ONE_CLASS, ALL_VOID]


def batch(*drawings: str) -> torch.Tensor:
    return torch.tensor(np.stack([grid(drawing) for drawing in drawings]))


def blocks(num_classes: int, height: int, width: int, cell: int, void: int = VOID) -> torch.Tensor:
    """Two random label maps of square blocks, in which 5 % of the pixels are void."""
    coarse = torch.randint(0, num_classes, (2, -(-height // cell), -(-width // cell)))
    gt = coarse.repeat_interleave(cell, 1).repeat_interleave(cell, 2)[:, :height, :width].clone()
    gt[torch.rand(gt.shape) < 0.05] = void
    return gt


def test_edge_of_a_straight_boundary_extends_half_a_window_to_both_sides():
    masks = edge_masks(batch(TWO_CLASSES), num_classes=2, size=(3, 5), kernel_size=3)
    edge = torch.tensor([0.0, 0, 1, 1, 0]).expand(3, 5)
    assert torch.equal(masks[0, 0], edge) and torch.equal(masks[0, 1], edge)


def test_a_boundary_to_void_is_an_edge_only_with_void_edges():
    gt = batch(VOID_BETWEEN)
    assert edge_masks(gt, 2, (3, 6), kernel_size=3).sum() == 0
    masks = edge_masks(gt, 2, (3, 6), kernel_size=3, void_edges=True)
    assert torch.equal(masks[0, 0], torch.tensor([0.0, 1, 1, 0, 0, 0]).expand(3, 6))


def test_a_cell_contains_the_share_of_its_pixels_that_are_edge():
    masks = edge_masks(batch(VOID_AT_THE_SIDE)[:, 1:, :], 2, (1, 2), kernel_size=3)
    assert masks[0, 0].tolist() == [[1.0, 0.5]] and masks[0, 1].tolist() == [[1.0, 0.5]]


@pytest.mark.parametrize('void_edges', [False, True])
@pytest.mark.parametrize('kernel_size', [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize('drawing', DRAWINGS)
def test_edge_masks_of_drawings_equal_the_oracle(drawing, kernel_size, void_edges):
    gt = batch(drawing)
    masks = edge_masks(gt, 3, gt.shape[1:], kernel_size, VOID, void_edges)
    expected = oracles.edge_masks(gt.numpy(), 3, gt.shape[1:], kernel_size, void_edges)
    assert torch.equal(masks, torch.tensor(expected, dtype=torch.float32))


@pytest.mark.parametrize('void_edges', [False, True])
@pytest.mark.parametrize(
    ('num_classes', 'shape', 'size', 'kernel_size'),
    [
        (2, (16, 24), (2, 3), 7),
        (3, (12, 18), (4, 6), 3),
        (8, (16, 16), (4, 4), 5),
        (9, (16, 20), (4, 4), 7),
        (7, (16, 20), (4, 4), 7),
        (5, (32, 64), (2, 2), 15),
        (15, (16, 20), (4, 4), 7),
        (16, (16, 20), (4, 4), 7),
        (31, (16, 20), (4, 4), 7),
        (19, (16, 32), (2, 4), 7),
        (59, (24, 24), (3, 3), 3),
        (150, (24, 32), (3, 4), 7),
        (256, (32, 32), (4, 4), 7),
    ],
)
def test_edge_masks_of_random_maps_equal_the_oracle_exactly(num_classes, shape, size, kernel_size, void_edges):
    """The numbers of classes cover sets of 16, 32 and 64 bits and of several words."""
    void = VOID if num_classes <= VOID else -1
    gt = blocks(num_classes, *shape, cell=2, void=void)
    masks = edge_masks(gt, num_classes, size, kernel_size, void, void_edges)
    expected = oracles.edge_masks(gt.numpy(), num_classes, size, kernel_size, void_edges, void)
    assert expected.max() > 0
    assert torch.equal(masks, torch.tensor(expected, dtype=torch.float32))


@pytest.mark.parametrize('num_classes', [3, 70])
@pytest.mark.parametrize(('shape', 'size'), [((13, 17), (3, 5)), ((16, 17), (4, 4)), ((9, 9), (9, 2))])
def test_a_grid_that_does_not_divide_the_label_uses_adaptive_pooling(num_classes, shape, size):
    gt = blocks(num_classes, *shape, cell=1)
    masks = edge_masks(gt, num_classes, size, 3)
    np.testing.assert_allclose(masks.numpy(), oracles.edge_masks(gt.numpy(), num_classes, size, 3), atol=1e-6)


def test_images_of_a_batch_do_not_influence_each_other():
    together = batch(POLE, POLE.replace('1', '2'))
    apart = [edge_masks(together[i : i + 1], 3, (5, 8), 3) for i in range(2)]
    assert torch.equal(edge_masks(together, 3, (5, 8), 3), torch.cat(apart))


@pytest.mark.parametrize('void_edges', [False, True])
@pytest.mark.parametrize('num_classes', [7, 16, 64, 150])
def test_masks_do_not_change_if_absent_classes_are_encoded_as_on_a_gpu(num_classes, void_edges, monkeypatch):
    gt = blocks(min(num_classes, 40), 16, 20, cell=3)
    masks = [edge_masks(gt, num_classes, (4, 4), 5, void_edges=void_edges)]
    monkeypatch.setattr(boundary, '_encoded_labels', lambda labels, num: torch.ones(num, dtype=torch.bool))
    masks.append(edge_masks(gt, num_classes, (4, 4), 5, void_edges=void_edges))
    assert masks[0].sum() > 0 and torch.equal(*masks)


def test_the_value_255_is_a_class_if_ignore_index_is_minus_one():
    gt = torch.tensor([[[0, 1, 255, 255]]], dtype=torch.uint8)
    assert edge_masks(gt, 256, (1, 4), 3, ignore_index=-1)[0].sum((1, 2)).nonzero().flatten().tolist() == [0, 1, 255]
    assert boundary_band(gt, 1, ignore_index=-1).tolist() == [[[True, True, True, False]]]


@pytest.mark.parametrize('ignore_index', [-1, 255, 300])
def test_void_can_have_any_value(ignore_index):
    gt = blocks(4, 16, 16, cell=3)
    renumbered = gt.masked_fill(gt == VOID, ignore_index)
    assert torch.equal(edge_masks(renumbered, 4, (4, 4), 5, ignore_index), edge_masks(gt, 4, (4, 4), 5))


@pytest.mark.parametrize('num_classes', [5, 256])
def test_labels_can_be_uint8(num_classes):
    """With 256 classes, the internal number of void does not fit into uint8."""
    gt = blocks(5, 16, 16, cell=3)
    expected = edge_masks(gt, num_classes, (4, 4), 5)
    assert expected.sum() > 0 and torch.equal(edge_masks(gt.to(torch.uint8), num_classes, (4, 4), 5), expected)


@pytest.mark.parametrize('kernel_size', [2, 3, 4, 7, 10, 15])
def test_edges_equal_opencvs_dilation_minus_erosion(kernel_size):
    """Also for an even kernel size, which has the default anchor of OpenCV."""
    gt = blocks(4, 40, 48, cell=6, void=-1).clamp(min=0)
    window = np.ones((kernel_size, kernel_size), np.uint8)
    masks = [(gt[0] == c).numpy().astype(np.uint8) for c in range(4)]
    expected = np.stack([cv2.dilate(mask, window) - cv2.erode(mask, window) for mask in masks])
    assert 0 < expected.mean() < 1
    assert torch.equal(edge_masks(gt[:1], 4, (40, 48), kernel_size)[0], torch.from_numpy(expected).float())


@pytest.mark.parametrize('kernel_size', [2, 3, 4, 7, 10, 15])
def test_kernel_size_minus_one_pixels_across_a_straight_boundary_are_edge(kernel_size):
    gt = torch.tensor([[[0] * 20 + [1] * 20] * 3])
    edge = edge_masks(gt, 2, (3, 40), kernel_size)[0, 0, 1]
    assert edge.sum() == kernel_size - 1
    assert abs(edge[:20].sum() - edge[20:].sum()) == (kernel_size % 2 == 0)


@pytest.mark.parametrize('kernel_size', [0, -3])
def test_a_kernel_size_below_one_pixel_is_refused(kernel_size):
    with pytest.raises(ValueError, match=f'at least 1 pixel.*{kernel_size}'):
        edge_masks(batch(POLE), 2, (5, 8), kernel_size)


@pytest.mark.parametrize('dtype', [torch.uint8, torch.int32, torch.int64])
def test_masks_are_float32_between_zero_and_one_and_the_label_is_not_modified(dtype):
    gt = blocks(5, 32, 32, cell=4).to(dtype)
    before = gt.clone()
    masks = edge_masks(gt, 5, (4, 4))
    assert masks.dtype == torch.float32 and masks.min() >= 0 and masks.max() <= 1
    assert torch.equal(gt, before)


@pytest.mark.parametrize('half_width', [1, 2, 3])
@pytest.mark.parametrize('drawing', DRAWINGS)
def test_bands_of_drawings_equal_the_oracle(drawing, half_width):
    gt = batch(drawing)
    assert boundary_band(gt, half_width)[0].tolist() == oracles.boundary_band(gt[0].numpy(), half_width).tolist()


@pytest.mark.parametrize('half_width', [1, 3, 6, 11])
@pytest.mark.parametrize('num_classes', [2, 19, 256])
def test_bands_of_random_maps_equal_the_oracle(num_classes, half_width):
    gt = blocks(min(num_classes, 255), 25, 31, cell=7)
    expected = np.stack([oracles.boundary_band(label, half_width) for label in gt.numpy()])
    assert boundary_band(gt, half_width).tolist() == expected.tolist()


def test_a_band_of_half_width_zero_is_refused():
    with pytest.raises(ValueError, match='at least 1'):
        boundary_band(batch(POLE), 0)
