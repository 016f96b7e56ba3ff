"""Boxes against hand-worked answers, and the properties of their moves."""

import numpy as np
import pytest

from vgg_sweep.localise.geometry import (
    areas,
    centres,
    clipped,
    from_target,
    iou,
    mirrored,
    rescaled,
    shifted,
    to_target,
)

RNG = np.random.default_rng(0)


def random_boxes(num: int = 200, side: int = 60) -> np.ndarray:
    """Whole pixels, at least one each way."""
    corners = np.sort(RNG.integers(0, side, (num, 2, 2)), axis=1)
    return corners.reshape(num, 4).astype(float)


def test_pixels_are_inclusive() -> None:
    """Two boxes of 2 x 1 pixels that share one: 1 of 3 pixels, where edges would say nothing is shared."""
    assert iou(np.array([[0, 0, 1, 0]]), np.array([[1, 0, 2, 0]])).tolist() == [[1 / 3]]
    assert areas(np.array([[3, 4, 3, 4]])).tolist() == [1]
    assert iou(np.array([[0, 0, 9, 9]]), np.array([[0, 0, 9, 4], [10, 0, 12, 9]])).tolist() == [[0.5, 0]]


def test_iou_counts_pixels() -> None:
    """Against masks of pixels."""
    first, second = random_boxes(30, 12), random_boxes(30, 12)
    for a, row in zip(first, iou(first, second), strict=True):
        for b, found in zip(second, row, strict=True):
            masks = np.zeros((2, 12, 12), bool)
            for mask, (x0, y0, x1, y1) in zip(masks, (a, b), strict=True):
                mask[int(y0) : int(y1) + 1, int(x0) : int(x1) + 1] = True
            assert found == pytest.approx((masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum())


def test_iou_is_symmetric_and_one_for_the_same_box() -> None:
    first, second = random_boxes(40), random_boxes(50)
    np.testing.assert_array_equal(iou(first, second), iou(second, first).T)
    assert np.diag(iou(first, first)).tolist() == [1] * 40


def test_a_box_of_swapped_corners_overlaps_nothing() -> None:
    swapped = np.array([[9, 9, 2, 2]])
    assert iou(swapped, np.array([[0, 0, 9, 9]])).tolist() == [[0]]
    assert iou(swapped, swapped).tolist() == [[0]]


def test_a_pixel_mirrored_is_the_pixel_of_the_mirrored_image() -> None:
    image = np.arange(7)
    for x in range(7):
        (x0, _, x1, _) = mirrored(np.array([x, 0, x, 0]), 7)
        assert x0 == x1 and image[::-1][x0] == x


def test_moves_undo_themselves() -> None:
    boxes = random_boxes()
    np.testing.assert_array_equal(mirrored(mirrored(boxes, 61), 61), boxes)
    np.testing.assert_array_equal(shifted(shifted(boxes, -5, 9), 5, -9), boxes)
    np.testing.assert_allclose(rescaled(rescaled(boxes, 1.7, 0.6), 1 / 1.7, 1 / 0.6), boxes, atol=1e-12)
    np.testing.assert_allclose(from_target(to_target(boxes, 64), 64), boxes, atol=1e-12)


def test_moves_keep_overlaps() -> None:
    """Two boxes overlap as much wherever and however large their image is shown. Edges 0 to 60 of 60 pixels."""
    first, second = random_boxes(20), random_boxes(20)
    expected = iou(first, second)
    np.testing.assert_array_equal(iou(rescaled(first, 2, 2), rescaled(second, 2, 2)), expected)
    np.testing.assert_allclose(iou(rescaled(first, 0.3, 1.7), rescaled(second, 0.3, 1.7)), expected, atol=1e-12)
    np.testing.assert_array_equal(iou(shifted(first, 3, -4), shifted(second, 3, -4)), expected)
    np.testing.assert_array_equal(iou(mirrored(first, 60), mirrored(second, 60)), expected)


def test_a_doubled_image_has_four_pixels_for_each() -> None:
    assert rescaled(np.array([2, 3, 4, 3]), 2, 2).tolist() == [4, 6, 9, 7]


def test_a_rescaled_image_and_its_mirror_agree() -> None:
    """Mirroring and rescaling in either order."""
    boxes = random_boxes()
    np.testing.assert_allclose(
        mirrored(rescaled(boxes, 1.5, 1.5), 90), rescaled(mirrored(boxes, 60), 1.5, 1.5), atol=1e-12
    )


def test_a_target_is_the_centre_and_the_sides_in_units_of_the_crop() -> None:
    assert to_target(np.array([0, 0, 63, 31]), 64).tolist() == [0.5, 0.25, 1, 0.5]
    assert centres(np.array([[4, 4, 4, 5]])).tolist() == [[4.5, 5]]


def test_clipping_keeps_what_is_inside() -> None:
    boxes = np.array([[-3.0, 2, 5, 20], [1, 1, 2, 2]])
    assert clipped(boxes, 10, 8).tolist() == [[0, 2, 5, 7], [1, 1, 2, 2]]
    sizes = np.array([[10, 8], [2, 2]])
    assert clipped(boxes, sizes[:, 0], sizes[:, 1]).tolist() == [[0, 2, 5, 7], [1, 1, 1, 1]]
